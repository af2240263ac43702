/* Runs: inputs and outputs are bound, the network's calls made one after another, outputs handed out. */
#include <stdio.h>
#include <string.h>

#include "context.h"

static const struct tmn_network* const network = &tmn_network;

/* Lets kernels find inputs and outputs: in place, or in copies that are aligned. */
static tvm_mobilenet_status bind(struct tvm_mobilenet_context* context, const void* const* inputs,
                                 void* const* outputs) {
  for (int32_t i = 0; i < tmn_bound_count(); i++) {
    const tvm_mobilenet_tensor* tensor = tmn_bound_tensor(i);
    int is_input = i < network->input_count;
    void* given = is_input ? (void*)inputs[i] : outputs[i - network->input_count];
    if (given == NULL) return TVM_MOBILENET_NULL_POINTER;
    if ((uintptr_t)given % tmn_type_bytes(tensor->type)) return TVM_MOBILENET_MISALIGNED;
    int in_place = (uintptr_t)given % tensor->alignment == 0;
    context->bound[i] = in_place ? given : context->staging[i];
    if (is_input && !in_place) memcpy(context->staging[i], given, tensor->bytes);
  }
  for (int32_t i = 0; i < network->bound_count; i++) {
    context->tensors[i].data = tmn_address(context, network->views[i].buffer);
  }
  return TVM_MOBILENET_OK;
}

static void hand_out(struct tvm_mobilenet_context* context, void* const* outputs) {
  for (int32_t i = 0; i < network->copy_count; i++) {
    const struct tmn_copy* copy = &network->copies[i];
    struct tmn_buffer to = {TMN_OUTPUT, (uint64_t)copy->output};
    memcpy(tmn_address(context, to), tmn_address(context, copy->source),
           network->outputs[copy->output].bytes);
  }
  for (int32_t i = 0; i < network->output_count; i++) {
    void* made = context->bound[network->input_count + i];
    if (made != outputs[i]) memcpy(outputs[i], made, network->outputs[i].bytes);
  }
}

static tvm_mobilenet_status run_call(struct tvm_mobilenet_context* context, int32_t number) {
  const struct tmn_call* call = &network->calls[number];
  struct tmn_any result = {0};
  if (!call->kernel(NULL, &context->arguments[call->first], call->count, &result)) {
    return TVM_MOBILENET_OK;
  }
  if (!atomic_load(&context->has_error)) {
    snprintf(context->error, TMN_ERROR_BYTES, "kernel %s failed", call->name);
  }
  return TVM_MOBILENET_FAILED;
}

static tvm_mobilenet_status run_calls(struct tvm_mobilenet_context* context) {
  tvm_mobilenet_status status = TVM_MOBILENET_OK;
  for (int32_t i = 0; i < network->call_count && !status; i++) status = run_call(context, i);
  return status;
}

/* Who wants to know what of a run. */
struct wanted {
  int32_t first, count; /* calls */
  int32_t times;
  tvm_mobilenet_observation* found; /* of each call */
  tvm_mobilenet_observer observer;
  void* user;
};

static tvm_mobilenet_type type_of(const struct tmn_dltensor* tensor) {
  static const struct {
    uint8_t code, bits, type;
  } types[] = {
      {2, 32, TVM_MOBILENET_FLOAT32}, {2, 16, TVM_MOBILENET_FLOAT16},
      {2, 64, TVM_MOBILENET_FLOAT64}, {4, 16, TVM_MOBILENET_BFLOAT16},
      {0, 8, TVM_MOBILENET_INT8},     {0, 16, TVM_MOBILENET_INT16},
      {0, 32, TVM_MOBILENET_INT32},   {0, 64, TVM_MOBILENET_INT64},
      {1, 8, TVM_MOBILENET_UINT8},    {1, 16, TVM_MOBILENET_UINT16},
      {1, 32, TVM_MOBILENET_UINT32},  {1, 64, TVM_MOBILENET_UINT64},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (types[i].code == tensor->code && types[i].bits == tensor->bits) return types[i].type;
  }
  return TVM_MOBILENET_BOOL;
}

/* What a call writes is its last argument that is a tensor. */
static tvm_mobilenet_observation blank(const struct tvm_mobilenet_context* context, int32_t number) {
  const struct tmn_call* call = &network->calls[number];
  const struct tmn_dltensor* output = NULL;
  for (int32_t i = call->first; i < call->first + call->count; i++) {
    if (context->arguments[i].type == TMN_TENSOR) output = context->arguments[i].value.pointer;
  }
  tvm_mobilenet_observation blank = {.kernel = call->name};
  if (output) {
    blank.data = output->data;
    blank.shape = output->shape;
    blank.rank = output->rank;
    blank.type = type_of(output);
  }
  return blank;
}

static tvm_mobilenet_status run_wanted(struct tvm_mobilenet_context* context,
                                       const struct wanted* wanted) {
  tvm_mobilenet_status status = TVM_MOBILENET_OK;
  for (int32_t i = 0; i < wanted->count && !status; i++) {
    int32_t number = wanted->first + i;
    tvm_mobilenet_observation* found = &wanted->found[i];
    *found = blank(context, number);
    context->observed = found;
    int64_t begun = tmn_now();
    for (int32_t j = 0; j < wanted->times && !status; j++) status = run_call(context, number);
    found->ns = tmn_now() - begun;
    context->observed = NULL;
    if (wanted->observer && !status) wanted->observer(wanted->user, number, found);
  }
  return status;
}

static tvm_mobilenet_status run_bound(struct tvm_mobilenet_context* context,
                                      const struct wanted* wanted) {
  struct tmn_part* before = tmn_current; /* of another context, whose parallel_for runs this one */
  context->parts[0].used = 0; /* a kernel that failed, or a fork, may have left something */
  context->parts[0].in_region = 0;
  context->observed = NULL;
  atomic_store(&context->has_error, 0);
  context->error[0] = '\0';
  tmn_current = &context->parts[0];
  tvm_mobilenet_status status = wanted ? run_wanted(context, wanted) : run_calls(context);
  tmn_current = before;
  return status;
}

static tvm_mobilenet_status run(tvm_mobilenet_context* context, const void* const* inputs,
                                void* const* outputs, const struct wanted* wanted) {
  if (context == NULL || inputs == NULL || outputs == NULL) return TVM_MOBILENET_NULL_POINTER;
  uint32_t here = tmn_process(), running = atomic_load(&context->running);
  /* A run of another process was under way when that forked, and will never end here. */
  if (running == here || !atomic_compare_exchange_strong(&context->running, &running, here)) {
    return TVM_MOBILENET_BUSY;
  }
  tvm_mobilenet_status status = TVM_MOBILENET_OK;
  if (tmn_has_workers(context) && context->pool.owner != here &&
      tmn_pool_start(&context->pool, context->pool.workers, context->threads)) {
    status = TVM_MOBILENET_NO_THREAD;
  }
  if (!status) status = bind(context, inputs, outputs);
  if (!status) status = run_bound(context, wanted);
  if (!status) hand_out(context, outputs);
  atomic_store(&context->running, 0);
  return status;
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_run(tvm_mobilenet_context* context,
                                                  const void* const* inputs,
                                                  void* const* outputs) {
  return run(context, inputs, outputs, NULL);
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_run_observed(
    tvm_mobilenet_context* context, const void* const* inputs, void* const* outputs,
    tvm_mobilenet_observation* found, tvm_mobilenet_observer observer, void* user) {
  struct wanted wanted = {0, network->call_count, 1, found, observer, user};
  if (found == NULL) return TVM_MOBILENET_NULL_POINTER;
  return run(context, inputs, outputs, &wanted);
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_repeat(tvm_mobilenet_context* context,
                                                     const void* const* inputs,
                                                     void* const* outputs, int32_t call,
                                                     int32_t times,
                                                     tvm_mobilenet_observation* found) {
  struct wanted wanted = {call, 1, times, found, NULL, NULL};
  if (found == NULL) return TVM_MOBILENET_NULL_POINTER;
  if (call < 0 || call >= network->call_count || times < 1) return TVM_MOBILENET_NO_CALL;
  return run(context, inputs, outputs, &wanted);
}
