/* A compiled network as C functions. It needs libc and threads, nothing of TVM.
 *
 *   tvm_mobilenet_options options = {.threads = 2};
 *   tvm_mobilenet_context* context;
 *   tvm_mobilenet_status status = tvm_mobilenet_create(&options, &context);
 *   if (status) { fprintf(stderr, "%s\n", tvm_mobilenet_text(status)); return 1; }
 *   const void* inputs[] = {image};
 *   void* outputs[] = {scores};
 *   status = tvm_mobilenet_run(context, inputs, outputs);
 *   tvm_mobilenet_destroy(context);
 *
 * Contexts are independent: each may run in a thread of its own, at the same time. One context runs
 * in one thread at a time. After a fork, contexts of the parent go on working in the child.
 */
#ifndef TVM_MOBILENET_H
#define TVM_MOBILENET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of this interface: raised where a program compiled with an older header would go wrong. */
#define TVM_MOBILENET_VERSION 1

/* What memory for a context, and inputs and outputs that are used in place, are best aligned to. */
#define TVM_MOBILENET_ALIGNMENT 64

#define TVM_MOBILENET_MOST_THREADS 1024

typedef enum {
  TVM_MOBILENET_OK = 0,
  TVM_MOBILENET_NULL_POINTER = 1,
  TVM_MOBILENET_MISALIGNED = 2,
  TVM_MOBILENET_BAD_THREADS = 3,
  TVM_MOBILENET_TOO_SMALL = 4,
  TVM_MOBILENET_NO_MEMORY = 5,
  TVM_MOBILENET_NO_THREAD = 6,
  TVM_MOBILENET_WRONG_PROCESSOR = 7,
  TVM_MOBILENET_BUSY = 8,
  TVM_MOBILENET_FAILED = 9,
  TVM_MOBILENET_NO_CALL = 10
} tvm_mobilenet_status;

/* What a status means, in a sentence; never NULL. */
const char* tvm_mobilenet_text(tvm_mobilenet_status status);

/* TVM_MOBILENET_VERSION of the header that the network was compiled with. */
int32_t tvm_mobilenet_version(void);

/* The network's description, JSON. It lives as long as the library. */
const char* tvm_mobilenet_manifest_json(void);

/* Whether this processor has the instructions that the network uses. The first of those that it
 * lacks is written to `missing`, of `size` bytes, if that is not NULL. Every context is created
 * with this check; code before it uses what every processor of the architecture has. */
tvm_mobilenet_status tvm_mobilenet_check_processor(char* missing, size_t size);

typedef enum {
  TVM_MOBILENET_FLOAT32 = 0,
  TVM_MOBILENET_FLOAT16 = 1,
  TVM_MOBILENET_BFLOAT16 = 2,
  TVM_MOBILENET_INT8 = 3,
  TVM_MOBILENET_UINT8 = 4,
  TVM_MOBILENET_INT32 = 5,
  TVM_MOBILENET_INT64 = 6,
  TVM_MOBILENET_BOOL = 7,
  TVM_MOBILENET_FLOAT64 = 8,
  TVM_MOBILENET_INT16 = 9,
  TVM_MOBILENET_UINT16 = 10,
  TVM_MOBILENET_UINT32 = 11,
  TVM_MOBILENET_UINT64 = 12
} tvm_mobilenet_type;

typedef struct {
  const char* name;
  const char* layout; /* "NCHW", "NHWC" or "NC" */
  const int64_t* shape;
  int32_t rank;
  tvm_mobilenet_type type;
  size_t bytes;
  size_t alignment; /* bytes; at any other address of its type a buffer is copied, which costs */
  float scale;      /* value = scale * (stored - zero_point); 1 and 0 where it is not quantised */
  int32_t zero_point;
} tvm_mobilenet_tensor;

int32_t tvm_mobilenet_inputs(void);
int32_t tvm_mobilenet_outputs(void);

/* Tensor `number` from 0; NULL where there is none. */
const tvm_mobilenet_tensor* tvm_mobilenet_input(int32_t number);
const tvm_mobilenet_tensor* tvm_mobilenet_output(int32_t number);

/* Calls task(data, i) once for every i from 0 to count - 1, at the same time or one after another, on
 * whatever threads, and returns when all have returned. It must not throw, nor jump out. */
typedef void (*tvm_mobilenet_task)(void* data, int32_t number);
typedef void (*tvm_mobilenet_parallel_for)(void* user, int32_t count, tvm_mobilenet_task task,
                                           void* data);

typedef struct {
  /* Into how many parts a kernel's work is divided. Without a parallel_for, a context of n threads
   * starts n - 1, which sleep between runs and end when it is destroyed. */
  int32_t threads;
  tvm_mobilenet_parallel_for parallel_for; /* NULL: threads of the context's own */
  void* user;                              /* for parallel_for */
} tvm_mobilenet_options;

/* Threads that contexts share, of this network and of others: a pool of n has n - 1 of its own, which
 * sleep while there is nothing to do. It must outlive the contexts that it serves. */
typedef struct tvm_mobilenet_pool tvm_mobilenet_pool;

tvm_mobilenet_status tvm_mobilenet_pool_create(int32_t threads, tvm_mobilenet_pool** pool);

/* A parallel_for: options have this function, and the pool as `user`. It serves one context at a time.
 * Where it serves another one, a thread that comes does its parts itself, one after another: nobody
 * waits, and no more threads work than there are callers and threads of the pool. */
void tvm_mobilenet_pool_share(void* pool, int32_t count, tvm_mobilenet_task task, void* data);

/* Ends a pool that serves nobody, and its threads. NULL is ignored. */
void tvm_mobilenet_pool_destroy(tvm_mobilenet_pool* pool);

typedef struct tvm_mobilenet_context tvm_mobilenet_context;

/* Memory that a context takes, bytes: everything but the stacks of its threads; 0 for options that
 * are wrong. */
size_t tvm_mobilenet_context_bytes(const tvm_mobilenet_options* options);

/* A context in memory of its own. */
tvm_mobilenet_status tvm_mobilenet_create(const tvm_mobilenet_options* options,
                                          tvm_mobilenet_context** context);

/* A context in memory of the caller's, aligned to TVM_MOBILENET_ALIGNMENT, which must not go before
 * tvm_mobilenet_destroy has returned. */
tvm_mobilenet_status tvm_mobilenet_create_in(const tvm_mobilenet_options* options, void* memory,
                                             size_t bytes, tvm_mobilenet_context** context);

/* Runs the network: an address for every input, an address for every output, none overlapping.
 * Allocates nothing and takes no lock; the first run after a fork starts threads. */
tvm_mobilenet_status tvm_mobilenet_run(tvm_mobilenet_context* context, const void* const* inputs,
                                       void* const* outputs);

/* What the last run that returned TVM_MOBILENET_FAILED says of it; "" if none did. */
const char* tvm_mobilenet_error(const tvm_mobilenet_context* context);

/* Ends a context that does not run, and its threads. NULL is ignored. */
void tvm_mobilenet_destroy(tvm_mobilenet_context* context);

/* For tests and profiles: the network is a number of calls of kernels. */
int32_t tvm_mobilenet_calls(void);

/* What one call of a kernel did. */
typedef struct {
  const char* kernel;
  const void* data; /* what it wrote: a tensor, which a later call may overwrite */
  const int64_t* shape;
  int32_t rank;
  tvm_mobilenet_type type;
  int32_t regions;    /* parallel regions that it entered; 0 where one thread does everything */
  int64_t ns;         /* that it took */
  int64_t regions_ns; /* of these, those in regions */
  int64_t longest_ns; /* of the longest part of each region: what a region takes beyond is the pool's */
  int64_t work_ns;    /* of all parts, added up */
} tvm_mobilenet_observation;

typedef void (*tvm_mobilenet_observer)(void* user, int32_t call,
                                       const tvm_mobilenet_observation* observation);

/* Runs the network and writes down each of its calls, in `found`, which has as many elements as
 * there are calls. The observer, if it is not NULL, is called after each. */
tvm_mobilenet_status tvm_mobilenet_run_observed(tvm_mobilenet_context* context,
                                                const void* const* inputs, void* const* outputs,
                                                tvm_mobilenet_observation* found,
                                                tvm_mobilenet_observer observer, void* user);

/* Makes one call so many times, on the buffers that it has in the network and what is in them, and
 * writes down their sums. Outputs of the network are undefined then. */
tvm_mobilenet_status tvm_mobilenet_repeat(tvm_mobilenet_context* context,
                                          const void* const* inputs, void* const* outputs,
                                          int32_t call, int32_t times,
                                          tvm_mobilenet_observation* found);

#ifdef __cplusplus
}
#endif

#endif
