/* A pool that contexts share: whoever finds it busy works alone. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "network.h"
#include "pool.h"

/* A page of its own, which a child finds empty after a fork: there are no threads in it. Asking for the
 * process's number instead, at each parallel region, takes as long as a twentieth of a short one. */
struct mark {
  _Atomic uint32_t busy;
  uint32_t started;
};

struct tvm_mobilenet_pool {
  struct tmn_pool pool;
  int32_t threads;
  struct mark* mark;
  size_t mark_bytes;
  int32_t is_wiped; /* by a fork; an older Linux than 4.14 does not */
  struct tmn_worker workers[];
};

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_pool_create(int32_t threads,
                                                          tvm_mobilenet_pool** made) {
  if (made == NULL) return TVM_MOBILENET_NULL_POINTER;
  *made = NULL;
  if (threads < 1 || threads > TVM_MOBILENET_MOST_THREADS) return TVM_MOBILENET_BAD_THREADS;
  size_t bytes = sizeof **made + (size_t)threads * sizeof(struct tmn_worker);
  void* memory;
  if (posix_memalign(&memory, TVM_MOBILENET_ALIGNMENT, bytes)) return TVM_MOBILENET_NO_MEMORY;
  tvm_mobilenet_pool* pool = memset(memory, 0, sizeof **made);
  pool->threads = threads;
  pool->mark_bytes = (size_t)sysconf(_SC_PAGESIZE);
  pool->mark = mmap(NULL, pool->mark_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pool->mark == MAP_FAILED) {
    free(pool);
    return TVM_MOBILENET_NO_MEMORY;
  }
#ifdef MADV_WIPEONFORK
  pool->is_wiped = madvise(pool->mark, pool->mark_bytes, MADV_WIPEONFORK) == 0;
#endif
  if (tmn_pool_start(&pool->pool, pool->workers, threads)) {
    munmap(pool->mark, pool->mark_bytes);
    free(pool);
    return TVM_MOBILENET_NO_THREAD;
  }
  pool->mark->started = 1;
  *made = pool;
  return TVM_MOBILENET_OK;
}

TMN_PUBLIC void tvm_mobilenet_pool_destroy(tvm_mobilenet_pool* pool) {
  if (pool == NULL) return;
  tmn_pool_stop(&pool->pool);
  munmap(pool->mark, pool->mark_bytes);
  free(pool);
}

struct share {
  tvm_mobilenet_task task;
  void* data;
  int32_t count, threads;
};

/* More parts than threads are dealt out in turns. */
static void run_share(void* data, int32_t number) {
  struct share* share = data;
  for (int32_t i = number; i < share->count; i += share->threads) share->task(share->data, i);
}

/* Whether the workers are there; in a child of a fork they are started anew. */
static int has_workers(tvm_mobilenet_pool* pool) {
  int alive = pool->is_wiped ? pool->mark->started != 0 : pool->pool.owner == getpid();
  if (alive) return 1;
  pool->mark->started = tmn_pool_start(&pool->pool, pool->workers, pool->threads) == 0;
  return pool->mark->started != 0;
}

TMN_PUBLIC void tvm_mobilenet_pool_share(void* user, int32_t count, tvm_mobilenet_task task,
                                         void* data) {
  tvm_mobilenet_pool* pool = user;
  struct share share = {task, data, count, pool->threads};
  struct share alone = {task, data, count, 1};
  uint32_t busy = 0;
  if (pool->threads == 1 || count < 2 ||
      !atomic_compare_exchange_strong(&pool->mark->busy, &busy, 1)) {
    run_share(&alone, 0);
    return;
  }
  if (has_workers(pool)) {
    tmn_pool_run(&pool->pool, run_share, &share);
  } else {
    run_share(&alone, 0);
  }
  atomic_store(&pool->mark->busy, 0);
}
