#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "old_glibc.h"

/* How long one looks before one sleeps, and how often one offers the processor to others meanwhile: what
 * one waits for may be waiting for this very processor. An offer that nobody takes costs 0.3 us, in which
 * one does not look; so the next one is 20 us away, or follows at once where somebody did take it. */
enum { SPIN_NS = 1000, QUIET_NS = 20000, TAKEN_NS = 2000, LOOKING_NS = 4000000 };

enum { LOOKS_PER_CLOCK = 16 };

/* Kernels keep at most a few kilobytes on the stack; musl's default of 128 KB would do as well. */
enum { STACK_BYTES = 1 << 20 };

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#elif defined(__riscv)
  __asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010"); /* pause: elsewhere a fence of nothing */
#endif
}

static uint32_t process;

static void count_fork(void) { process++; }

__attribute__((constructor)) static void hear_of_forks(void) {
  if (pthread_atfork(NULL, NULL, count_fork) == 0) process = 1;
}

uint32_t tmn_process(void) { return process; }

int64_t tmn_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void sleep_while(_Atomic uint32_t* word, uint32_t value) {
  /* Returns at once if the word has another value, which the kernel looks at in one step. */
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Looks at a word for a while; returns its value, which may still be the old one. */
static uint32_t look_while(_Atomic uint32_t* word, uint32_t value) {
  int64_t begun = tmn_now(), now = begun, offer = begun + SPIN_NS;
  for (int looks = 1; now - begun < LOOKING_NS; looks++) {
    uint32_t found = atomic_load_explicit(word, memory_order_acquire);
    if (found != value) return found;
    if (now < offer) {
      relax();
      if (looks % LOOKS_PER_CLOCK == 0) now = tmn_now();
    } else {
      sched_yield();
      int64_t then = now;
      now = tmn_now();
      offer = now - then > TAKEN_NS ? now : now + QUIET_NS;
    }
  }
  return value;
}

static uint32_t next_round(struct tmn_pool* pool, uint32_t seen) {
  uint32_t found = look_while(&pool->round, seen);
  if (found != seen) return found;
  /* Sequentially consistent, as in begin_round: either the caller sees that this worker sleeps, or
   * the kernel sees the caller's new round and does not let it. */
  atomic_fetch_add(&pool->sleeping, 1);
  while ((found = atomic_load(&pool->round)) == seen) sleep_while(&pool->round, seen);
  atomic_fetch_sub(&pool->sleeping, 1);
  return found;
}

static uint32_t begin_round(struct tmn_pool* pool) {
  uint32_t round = atomic_fetch_add(&pool->round, 1) + 1;
  if (atomic_load(&pool->sleeping) != 0) wake(&pool->round);
  return round;
}

/* Each part is claimed once in each round. Who has claimed one may read the task: no other can begin
 * before that part is done. A worker that comes late finds its own claimed, and reads nothing. */
static int claim(struct tmn_worker* worker, uint32_t round) {
  uint32_t before = round - 1; /* looked at first, which does not take the line away */
  return atomic_load_explicit(&worker->claimed, memory_order_relaxed) == before &&
         atomic_compare_exchange_strong(&worker->claimed, &before, round);
}

static void* work(void* argument) {
  struct tmn_worker* self = argument;
  struct tmn_pool* pool = self->pool;
  uint32_t seen = self->seen;
  for (;;) {
    seen = next_round(pool, seen);
    if (atomic_load(&pool->stop)) return NULL;
    if (!claim(self, seen)) continue;
    pool->task(pool->data, self->number);
    /* The same bargain the other way round: this one sees that the caller sleeps, or the caller sees
     * that this part is done. */
    atomic_store(&self->done, seen);
    if (atomic_load(&pool->caller_sleeps)) wake(&self->done);
  }
}

static int start_thread(struct tmn_worker* worker) {
  pthread_attr_t attributes;
  int failed = pthread_attr_init(&attributes);
  if (failed) return failed;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  failed = pthread_create(&worker->thread, &attributes, work, worker);
  pthread_attr_destroy(&attributes);
  return failed;
}

static void end_workers(struct tmn_pool* pool, int32_t count) {
  atomic_store(&pool->stop, 1);
  begin_round(pool);
  for (int32_t i = 0; i < count; i++) pthread_join(pool->workers[i].thread, NULL);
}

int tmn_pool_start(struct tmn_pool* pool, struct tmn_worker* workers, int32_t threads) {
  memset(pool, 0, sizeof *pool);
  if (process == 0) return ENOMEM;
  pool->workers = workers;
  pool->threads = threads;
  pool->owner = process;
  /* Signals are for the program's own threads: a handler of its might count on that. But what a thread
   * brings about itself comes to that thread, and where it is blocked, to no handler at all. */
  static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  sigset_t all, before;
  sigfillset(&all);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&all, own[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = 0;
  for (int32_t i = 0; i < threads - 1 && !failed; i++) {
    workers[i] = (struct tmn_worker){.pool = pool, .number = i + 1, .seen = 0};
    failed = start_thread(&workers[i]);
    if (failed) end_workers(pool, i);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed) pool->owner = 0;
  return failed;
}

static void wait_for(struct tmn_pool* pool, struct tmn_worker* worker, uint32_t round) {
  uint32_t found = atomic_load_explicit(&worker->done, memory_order_acquire);
  if (found == round || look_while(&worker->done, found) == round) return;
  atomic_store(&pool->caller_sleeps, 1);
  while ((found = atomic_load(&worker->done)) != round) sleep_while(&worker->done, found);
  atomic_store(&pool->caller_sleeps, 0);
}

void tmn_pool_run(struct tmn_pool* pool, tvm_mobilenet_task task, void* data) {
  pool->task = task;
  pool->data = data;
  uint32_t round = begin_round(pool);
  int32_t workers = pool->threads - 1;
  task(data, 0);
  for (int32_t i = 0; i < workers; i++) {
    if (!claim(&pool->workers[i], round)) continue;
    task(data, i + 1);
    atomic_store(&pool->workers[i].done, round);
  }
  for (int32_t i = 0; i < workers; i++) wait_for(pool, &pool->workers[i], round);
}

void tmn_pool_stop(struct tmn_pool* pool) {
  if (pool->owner == process) end_workers(pool, pool->threads - 1);
}
