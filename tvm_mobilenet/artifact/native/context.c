/* Contexts: one block of memory each, divided once. */
#define _GNU_SOURCE
#include "context.h"

#include <stdlib.h>
#include <string.h>

static const struct tmn_network* const network = &tmn_network;

size_t tmn_type_bytes(tvm_mobilenet_type type) {
  switch (type) {
    case TVM_MOBILENET_FLOAT64:
    case TVM_MOBILENET_INT64:
    case TVM_MOBILENET_UINT64:
      return 8;
    case TVM_MOBILENET_FLOAT32:
    case TVM_MOBILENET_INT32:
    case TVM_MOBILENET_UINT32:
      return 4;
    case TVM_MOBILENET_FLOAT16:
    case TVM_MOBILENET_BFLOAT16:
    case TVM_MOBILENET_INT16:
    case TVM_MOBILENET_UINT16:
      return 2;
    case TVM_MOBILENET_INT8:
    case TVM_MOBILENET_UINT8:
    case TVM_MOBILENET_BOOL:
      return 1;
  }
  return 1;
}

const tvm_mobilenet_tensor* tmn_bound_tensor(int32_t number) {
  int32_t inputs = network->input_count;
  return number < inputs ? &network->inputs[number] : &network->outputs[number - inputs];
}

int32_t tmn_bound_count(void) { return network->input_count + network->output_count; }

/* A kernel loads whole vectors from where it takes an aligned address for granted. */
static size_t staging_bytes(int32_t number) {
  const tvm_mobilenet_tensor* tensor = tmn_bound_tensor(number);
  return tensor->alignment > tmn_type_bytes(tensor->type) ? tmn_aligned(tensor->bytes) : 0;
}

static void* take(uintptr_t* at, size_t bytes) {
  void* found = (void*)*at;
  *at += tmn_aligned(bytes);
  return found;
}

/* Divides memory from an address on among the parts of a context, and returns where it ends. Without a
 * context and from 0 on, that is how much it takes. */
static uintptr_t place_parts(struct tvm_mobilenet_context* context, uintptr_t at, int32_t threads) {
  size_t count = (size_t)threads, tensors = (size_t)tmn_bound_count();
  struct tvm_mobilenet_context unused, *into = context ? context : &unused;
  take(&at, sizeof *context);
  into->pool.workers = take(&at, count * sizeof(struct tmn_worker));
  into->parts = take(&at, count * sizeof(struct tmn_part));
  into->tensors = take(&at, (size_t)network->view_count * sizeof(struct tmn_dltensor));
  into->arguments = take(&at, (size_t)network->argument_count * sizeof(struct tmn_any));
  into->bound = take(&at, tensors * sizeof(void*));
  into->staging = take(&at, tensors * sizeof(char*));
  for (int32_t i = 0; i < tmn_bound_count(); i++) {
    size_t bytes = staging_bytes(i);
    char* staging = take(&at, bytes);
    if (context) context->staging[i] = bytes ? staging : NULL;
  }
  into->storage = take(&at, network->storage_bytes);
  for (int32_t i = 0; i < threads; i++) {
    char* scratch = take(&at, network->scratch_bytes);
    if (context) context->parts[i] = (struct tmn_part){.context = context, .scratch = scratch};
  }
  return at;
}

void* tmn_address(const struct tvm_mobilenet_context* context, struct tmn_buffer buffer) {
  switch (buffer.place) {
    case TMN_INPUT:
      return context->bound[buffer.at];
    case TMN_OUTPUT:
      return context->bound[(uint64_t)network->input_count + buffer.at];
    case TMN_STORAGE:
      return context->storage + buffer.at;
    default:
      return (void*)(network->weights + buffer.at);
  }
}

/* Writes down what every call is given; only the addresses of inputs and outputs are still open. */
static void fill_arguments(struct tvm_mobilenet_context* context) {
  for (int32_t i = 0; i < network->view_count; i++) {
    const struct tmn_view* view = &network->views[i];
    context->tensors[i] = (struct tmn_dltensor){
        .data = i < network->bound_count ? NULL : tmn_address(context, view->buffer),
        .device_type = TMN_CPU,
        .rank = view->rank,
        .code = view->code,
        .bits = view->bits,
        .lanes = 1,
        .shape = (int64_t*)view->shape,
    };
  }
  for (int32_t i = 0; i < network->argument_count; i++) {
    const struct tmn_argument* argument = &network->arguments[i];
    struct tmn_any* any = &context->arguments[i];
    memset(any, 0, sizeof *any);
    if (argument->view < 0) {
      any->type = TMN_INTEGER;
      any->value.integer = argument->integer;
    } else {
      any->type = TMN_TENSOR;
      any->value.pointer = &context->tensors[argument->view];
    }
  }
}

static tvm_mobilenet_status check_options(const tvm_mobilenet_options* options) {
  if (options == NULL) return TVM_MOBILENET_NULL_POINTER;
  if (options->threads < 1 || options->threads > TVM_MOBILENET_MOST_THREADS) {
    return TVM_MOBILENET_BAD_THREADS;
  }
  return TVM_MOBILENET_OK;
}

int tmn_has_workers(const struct tvm_mobilenet_context* context) {
  return context->threads > 1 && context->parallel_for == NULL;
}

TMN_PUBLIC size_t tvm_mobilenet_context_bytes(const tvm_mobilenet_options* options) {
  if (check_options(options)) return 0;
  return place_parts(NULL, 0, options->threads);
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_create_in(const tvm_mobilenet_options* options,
                                                        void* memory, size_t bytes,
                                                        tvm_mobilenet_context** made) {
  if (made == NULL) return TVM_MOBILENET_NULL_POINTER;
  *made = NULL;
  tvm_mobilenet_status wrong = check_options(options);
  if (!wrong && memory == NULL) wrong = TVM_MOBILENET_NULL_POINTER;
  if (!wrong && (uintptr_t)memory % TVM_MOBILENET_ALIGNMENT) wrong = TVM_MOBILENET_MISALIGNED;
  if (!wrong && bytes < tvm_mobilenet_context_bytes(options)) wrong = TVM_MOBILENET_TOO_SMALL;
  if (!wrong) wrong = tvm_mobilenet_check_processor(NULL, 0);
  if (!wrong && tmn_process() == 0) wrong = TVM_MOBILENET_NO_MEMORY;
  if (wrong) return wrong;
  struct tvm_mobilenet_context* context = memory;
  memset(context, 0, sizeof *context);
  context->threads = options->threads;
  context->parallel_for = options->parallel_for;
  context->user = options->user;
  place_parts(context, (uintptr_t)memory, options->threads);
  fill_arguments(context);
  if (tmn_has_workers(context) &&
      tmn_pool_start(&context->pool, context->pool.workers, context->threads)) {
    return TVM_MOBILENET_NO_THREAD;
  }
  *made = context;
  return TVM_MOBILENET_OK;
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_create(const tvm_mobilenet_options* options,
                                                     tvm_mobilenet_context** made) {
  if (made == NULL) return TVM_MOBILENET_NULL_POINTER;
  *made = NULL;
  tvm_mobilenet_status wrong = check_options(options);
  if (wrong) return wrong;
  void* memory;
  size_t bytes = tvm_mobilenet_context_bytes(options);
  if (posix_memalign(&memory, TVM_MOBILENET_ALIGNMENT, bytes)) return TVM_MOBILENET_NO_MEMORY;
  wrong = tvm_mobilenet_create_in(options, memory, bytes, made);
  if (wrong) {
    free(memory);
  } else {
    (*made)->to_free = memory;
  }
  return wrong;
}

TMN_PUBLIC void tvm_mobilenet_destroy(tvm_mobilenet_context* context) {
  if (context == NULL) return;
  if (tmn_has_workers(context)) tmn_pool_stop(&context->pool);
  free(context->to_free);
}

TMN_PUBLIC const char* tvm_mobilenet_error(const tvm_mobilenet_context* context) {
  return context ? context->error : "";
}
