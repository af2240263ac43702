/* What a context is, for those who make it and those whom its kernels call. */
#ifndef TMN_CONTEXT_H
#define TMN_CONTEXT_H

#include <stdatomic.h>

#include "network.h"
#include "pool.h"

enum { TMN_ERROR_BYTES = 512 };

/* What one part of a parallel region has for itself. Part 0 belongs to the caller, outside of
 * regions too. */
struct tmn_part {
  _Alignas(64) struct tvm_mobilenet_context* context;
  char* scratch; /* memory of kernels' own, taken and given back in the order of a stack */
  size_t used;
  int32_t in_region;
  int64_t ns; /* that it took in the last region that was observed */
};

/* Of one block of memory, in the order in which `place_parts` of context.c divides it. */
struct tvm_mobilenet_context {
  struct tmn_pool pool;
  _Atomic uint32_t running; /* the process in which a run is under way: a lock would outlive a fork */
  int32_t threads;
  tvm_mobilenet_parallel_for parallel_for;
  void* user;
  struct tmn_part* parts;
  struct tmn_dltensor* tensors; /* of the network's views */
  struct tmn_any* arguments;    /* of all calls */
  void** bound;                 /* what inputs, then outputs, are read from and written to */
  char** staging;               /* copies of inputs, then outputs, that are not aligned; else NULL */
  char* storage;
  void* to_free; /* NULL where the memory is the caller's */
  tvm_mobilenet_observation* observed; /* the call under way, if its time is wanted; else NULL */
  _Atomic int32_t has_error;
  char error[TMN_ERROR_BYTES];
};

/* Bytes of one element. */
size_t tmn_type_bytes(tvm_mobilenet_type type);

/* Input or output `number` of both, inputs first, as they are bound, and how many there are. */
const tvm_mobilenet_tensor* tmn_bound_tensor(int32_t number);
int32_t tmn_bound_count(void);

/* Where a buffer is, for this context. */
void* tmn_address(const struct tvm_mobilenet_context* context, struct tmn_buffer buffer);

/* Whether it has threads of its own. */
int tmn_has_workers(const struct tvm_mobilenet_context* context);

/* The part that this thread runs; NULL where it runs no part of any context. */
extern _Thread_local struct tmn_part* tmn_current __attribute__((visibility("hidden")));

#endif
