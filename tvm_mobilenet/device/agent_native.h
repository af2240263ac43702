/* Networks by their C interface: loaded, run, watched and timed there. For apache-tvm, whose artifacts
 * have it; TVM is only how one gets here. */
#include "tvm_mobilenet.h"

typedef struct {
  tvm_mobilenet_context* context;
  __typeof__(tvm_mobilenet_create)* create;
  __typeof__(tvm_mobilenet_pool_create)* pool_create;
  __typeof__(tvm_mobilenet_pool_share)* pool_share;
  __typeof__(tvm_mobilenet_run)* run;
  __typeof__(tvm_mobilenet_run_observed)* run_observed;
  __typeof__(tvm_mobilenet_repeat)* repeat;
  __typeof__(tvm_mobilenet_calls)* calls;
  __typeof__(tvm_mobilenet_inputs)* inputs;
  __typeof__(tvm_mobilenet_text)* text;
  __typeof__(tvm_mobilenet_error)* error;
} Network;

static int32_t wanted_threads = 1;

/* By the threads that they have. Networks share one; its code is that of the first that asked for it,
 * which is never unloaded. */
static struct {
  tvm_mobilenet_pool* pool;
  tvm_mobilenet_parallel_for share;
} pools[TVM_MOBILENET_MOST_THREADS + 1];

static int use_threads(int64_t number) {
  if (number > TVM_MOBILENET_MOST_THREADS) return fail("more threads than a pool may have");
  wanted_threads = (int32_t)number;
  return 0;
}

static int told(const Network* network, tvm_mobilenet_status status) {
  const char* why = network->context ? network->error(network->context) : "";
  return status ? fail(*why ? why : network->text(status)) : 0;
}

static int find_functions(void* library, const char* prefix, Network* network) {
  const struct {
    const char* name;
    void* into;
  } functions[] = {
      {"create", &network->create},
      {"pool_create", &network->pool_create},
      {"pool_share", &network->pool_share},
      {"run", &network->run},
      {"run_observed", &network->run_observed},
      {"repeat", &network->repeat},
      {"calls", &network->calls},
      {"inputs", &network->inputs},
      {"text", &network->text},
      {"error", &network->error},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; ++i) {
    char symbol[256];
    void* found;
    snprintf(symbol, sizeof symbol, "%s_%s", prefix, functions[i].name);
    found = dlsym(library, symbol);
    if (found == NULL) return fail("the library has no C interface of this prefix");
    memcpy(functions[i].into, &found, sizeof found);
  }
  return 0;
}

static tvm_mobilenet_status create(Network* network) {
  tvm_mobilenet_options options = {.threads = wanted_threads};
  if (options.threads > 1) {
    if (pools[options.threads].pool == NULL) {
      tvm_mobilenet_status wrong =
          network->pool_create(options.threads, &pools[options.threads].pool);
      if (wrong) return wrong;
      pools[options.threads].share = network->pool_share;
    }
    options.parallel_for = pools[options.threads].share;
    options.user = pools[options.threads].pool;
  }
  return network->create(&options, &network->context);
}

/* A network, on as many threads as are wanted now; NULL if this processor lacks what it uses. What is
 * loaded stays: a pool's threads may run its code. */
static int open_kernel(const char* path, const char* prefix, void** made) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  Network* network = calloc(1, sizeof *network);
  int failed = -1;
  *made = NULL;
  if (network == NULL) return fail("out of memory");
  if (library == NULL) {
    fail(dlerror());
  } else if (find_functions(library, prefix, network) == 0) {
    tvm_mobilenet_status status = create(network);
    if (status == TVM_MOBILENET_OK) *made = network;
    failed = status == TVM_MOBILENET_WRONG_PROCESSOR ? 0 : told(network, status);
  }
  if (*made == NULL) free(network);
  return failed;
}

static void* const* outputs_of(const Network* network, const Turn* turn) {
  return turn->addresses + network->inputs();
}

static int invoke(void* kernel, const Turn* turn) {
  const Network* network = kernel;
  return told(network, network->run(network->context, (const void**)turn->addresses,
                                    outputs_of(network, turn)));
}

/* By tvm_mobilenet_type. */
static const uint8_t type_bytes[] = {4, 2, 2, 1, 1, 4, 8, 1, 8, 2, 2, 4, 8};

/* What the kernels of a run wrote: of each type, rank, sizes, elements; and their names. */
static struct {
  Buffer names, *outputs;
  int32_t count;
  int failed;
} seen;

static void forget(void) {
  for (int32_t i = 0; i < seen.count; ++i) free(seen.outputs[i].data);
  free(seen.outputs);
  free(seen.names.data);
  memset(&seen, 0, sizeof seen);
}

static void keep(void* user, int32_t number, const tvm_mobilenet_observation* found) {
  const int64_t head[] = {found->type, found->rank};
  size_t size = type_bytes[found->type];
  Buffer* into = &seen.outputs[number];
  (void)user;
  for (int32_t i = 0; i < found->rank; ++i) size *= (size_t)found->shape[i];
  seen.failed |= append(&seen.names, found->kernel, strlen(found->kernel) + 1) ||
                 append(into, head, sizeof head) ||
                 append(into, found->shape, (size_t)found->rank * sizeof *found->shape) ||
                 append(into, found->data, size);
}

/* observe(): run what is in use and keep what its kernels wrote; returns their names, a zero behind each.
 */
FUNCTION(observe) {
  const Network* network = in_use.kernel;
  tvm_mobilenet_observation* found;
  int status;
  (void)self, (void)arguments, (void)count;
  if (nothing_to_do()) return -1;
  forget();
  seen.count = network->calls();
  seen.outputs = calloc((size_t)seen.count + 1, sizeof *seen.outputs);
  found = calloc((size_t)seen.count + 1, sizeof *found);
  if (seen.outputs == NULL || found == NULL) {
    seen.count = 0;
    status = fail("out of memory");
  } else {
    const Turn* turn = in_use.turns->last;
    status = told(network, network->run_observed(network->context, (const void**)turn->addresses,
                                                 outputs_of(network, turn), found, keep, NULL));
    if (!status && seen.failed) status = fail("out of memory");
  }
  free(found);
  return status ? status : bytes(seen.names.data, seen.names.size, result);
}

/* output(call) -> bytes: what that call wrote, and frees it. */
FUNCTION(output) {
  int64_t call;
  int status;
  (void)self;
  if (integer(arguments, count, 0, &call)) return -1;
  if (call < 0 || call >= seen.count) return fail("there is no such call");
  status = bytes(seen.outputs[call].data, seen.outputs[call].size, result);
  free(seen.outputs[call].data);
  memset(&seen.outputs[call], 0, sizeof *seen.outputs);
  return status;
}

/* replay(repeats) -> bytes: what is in use, again and again; int64 nanoseconds of each call. */
FUNCTION(replay) {
  const Network* network = in_use.kernel;
  Buffer buffer = {NULL, 0, 0};
  tvm_mobilenet_observation* found;
  int64_t repeats;
  int status = 0;
  (void)self;
  if (integer(arguments, count, 0, &repeats) || nothing_to_do()) return -1;
  found = calloc((size_t)network->calls() + 1, sizeof *found);
  if (found == NULL) return fail("out of memory");
  /* The first time through warms the caches and does not count. */
  for (int64_t repeat = -1; repeat < repeats && !status; ++repeat) {
    const Turn* turn = in_use.turns->last;
    status = told(network, network->run_observed(network->context, (const void**)turn->addresses,
                                                 outputs_of(network, turn), found, NULL, NULL));
    for (int32_t i = 0; repeat >= 0 && i < network->calls() && !status; ++i)
      if (append(&buffer, &found[i].ns, sizeof found[i].ns)) status = fail("out of memory");
  }
  if (!status) status = bytes(buffer.data, buffer.size, result);
  free(buffer.data);
  free(found);
  return status;
}

/* repeat(call, times) -> nanoseconds of one call of what is in use, so many times in a row. */
FUNCTION(repeat) {
  const Network* network = in_use.kernel;
  tvm_mobilenet_observation found;
  int64_t call, times;
  (void)self;
  if (integer(arguments, count, 0, &call) || integer(arguments, count, 1, &times)) return -1;
  if (nothing_to_do()) return -1;
  const Turn* turn = in_use.turns->last;
  if (told(network, network->repeat(network->context, (const void**)turn->addresses,
                                    outputs_of(network, turn), (int32_t)call, (int32_t)times,
                                    &found)))
    return -1;
  give(found.ns, result);
  return 0;
}
