/* Threads that share the parts of a parallel region: they spin a little, then sleep.
 *
 * A pool serves one caller at a time. Between two regions of a network there are microseconds, so
 * workers that wait look again and again; between two runs there may be hours, so they go to sleep
 * after a while. Nothing here takes a lock: a futex is waited on only where there is nothing to do.
 */
#ifndef TMN_POOL_H
#define TMN_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tvm_mobilenet.h"

/* What a worker writes is on a line of its own, since each write takes a line away from all who look at
 * it: two go from one processor to the other for each region, the pool's there and the worker's back. */
struct tmn_worker {
  _Alignas(64) _Atomic uint32_t claimed; /* the round in which somebody took its part */
  _Atomic uint32_t done;                 /* the round in which that was done */
  pthread_t thread;
  struct tmn_pool* pool;
  int32_t number;
  uint32_t seen; /* the round before its first: known before it is started */
};

struct tmn_pool {
  _Alignas(64) _Atomic uint32_t round; /* a new value: there is work, or the end */
  tvm_mobilenet_task task;
  void* data;
  _Atomic int32_t stop;
  _Atomic int32_t caller_sleeps;
  _Alignas(64) _Atomic uint32_t sleeping; /* workers that may have to be woken */
  _Alignas(64) uint32_t owner; /* the process that the workers are threads of; 0 if there are none */
  int32_t threads;
  struct tmn_worker* workers; /* `threads - 1` of them */
};

/* Which process this is: 1 where the library was loaded, and one more in every child of a fork, so that
 * no two in a line have the same number. 0 if the system could not promise to tell of forks. */
uint32_t tmn_process(void);

/* Nanoseconds since whenever. */
int64_t tmn_now(void);

/* Starts the workers; 0, or what pthread_create returned, and then there are none. */
int tmn_pool_start(struct tmn_pool* pool, struct tmn_worker* workers, int32_t threads);

/* task(data, i) for i from 0 to threads - 1, the first of them on the caller, as are those of workers
 * that have not come when it is done: they may not have been woken yet, or have no processor. */
void tmn_pool_run(struct tmn_pool* pool, tvm_mobilenet_task task, void* data);

/* Ends the workers and waits for them. In a child of the process that started them there are none. */
void tmn_pool_stop(struct tmn_pool* pool);

#endif
