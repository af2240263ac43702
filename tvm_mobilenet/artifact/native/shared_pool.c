/* A pool that contexts share: whoever finds it busy works alone. */
#include <stdlib.h>
#include <string.h>

#include "network.h"
#include "pool.h"

struct tvm_mobilenet_pool {
  struct tmn_pool pool;
  _Atomic uint32_t running; /* the process in which it serves somebody: as that of a context */
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
  if (tmn_pool_start(&pool->pool, pool->workers, threads)) {
    free(pool);
    return TVM_MOBILENET_NO_THREAD;
  }
  *made = pool;
  return TVM_MOBILENET_OK;
}

TMN_PUBLIC void tvm_mobilenet_pool_destroy(tvm_mobilenet_pool* pool) {
  if (pool == NULL) return;
  tmn_pool_stop(&pool->pool);
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
static int has_workers(struct tmn_pool* pool, uint32_t here) {
  return pool->owner == here || tmn_pool_start(pool, pool->workers, pool->threads) == 0;
}

TMN_PUBLIC void tvm_mobilenet_pool_share(void* user, int32_t count, tvm_mobilenet_task task,
                                         void* data) {
  tvm_mobilenet_pool* pool = user;
  struct share share = {task, data, count, pool->pool.threads};
  struct share alone = {task, data, count, 1};
  uint32_t here = tmn_process(), running = atomic_load(&pool->running);
  if (share.threads == 1 || count == 1 || running == here ||
      !atomic_compare_exchange_strong(&pool->running, &running, here)) {
    run_share(&alone, 0);
    return;
  }
  if (has_workers(&pool->pool, here)) {
    tmn_pool_run(&pool->pool, run_share, &share);
  } else {
    run_share(&alone, 0);
  }
  atomic_store(&pool->running, 0);
}
