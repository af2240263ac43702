/* An instrument of Relax's virtual machine that keeps every kernel's function, arguments and output. */

/* The global name by which the virtual machine finds the instrument: see set_instrument. */
#define OBSERVE "tvm_mobilenet.observe"

typedef struct {
  char* name;
  TVMFFIObjectHandle function;
  Value* arguments; /* owned */
  int32_t count;
  char* output; /* int64 type, int64 bits, int64 rank, int64 sizes, elements */
  size_t size;
} Call;

static Call* calls;
static int64_t called, room, selected;

static void forget(void) {
  for (int64_t i = 0; i < called; ++i) {
    for (int32_t k = 0; k < calls[i].count; ++k) drop(&calls[i].arguments[k]);
    TVMFFIObjectDecRef(calls[i].function);
    free(calls[i].arguments);
    free(calls[i].output);
    free(calls[i].name);
  }
  called = selected = 0;
}

static int keep_output(Call* call, const DLTensor* from) {
  int64_t start[3] = {from->dtype.code, from->dtype.bits, from->ndim};
  size_t sizes = (size_t)from->ndim * sizeof(int64_t), head = sizeof start + sizes;
  size_t elements = (size_t)((from->dtype.bits + 7) / 8);
  for (int64_t i = 0; i < from->ndim; ++i) elements *= (size_t)from->shape[i];
  call->size = head + elements;
  call->output = malloc(call->size);
  if (call->output == NULL) return -1;
  memcpy(call->output, start, sizeof start);
  memcpy(call->output + sizeof start, from->shape, sizes);
  memcpy(call->output + head, (const char*)from->data + from->byte_offset, elements);
  return 0;
}

/* instrument(function, name, starting, result, arguments...): keep what a kernel did. */
static int instrument(void* self, const Value* arguments, int32_t count, Value* result) {
  size_t size;
  const char* name = count >= 4 ? text(&arguments[1], &size) : NULL;
  const DLTensor* output = NULL;
  Call* call;
  (void)self;
  result->type_index = kTVMFFIInt;
  result->v_int64 = 0; /* VMInstrumentReturnKind::kNoOp */
  if (name == NULL) return fail("TVM's virtual machine calls its instrument in another way");
  /* The virtual machine's own functions are no kernels. */
  if (arguments[2].v_int64 || (size > 3 && memcmp(name, "vm.", 3) == 0)) return 0;
  if (called == room) {
    int64_t wanted = 2 * room + 64;
    Call* grown = realloc(calls, (size_t)wanted * sizeof *calls);
    if (grown == NULL) return fail("out of memory");
    calls = grown;
    room = wanted;
  }
  for (int32_t i = count - 1; i >= 4 && output == NULL; --i) output = tensor(&arguments[i]);
  if (output == NULL) return 0;
  call = &calls[called];
  memset(call, 0, sizeof *call);
  call->name = malloc(size + 1);
  call->arguments = calloc((size_t)count - 4, sizeof(Value));
  if (call->name == NULL || call->arguments == NULL || keep_output(call, output))
    return fail("out of memory");
  memcpy(call->name, name, size);
  call->name[size] = 0;
  call->function = arguments[0].v_obj;
  TVMFFIObjectIncRef(call->function);
  ++called;
  for (int32_t i = 4; i < count; ++i, ++call->count)
    if (TVMFFIAnyViewToOwnedAny(&arguments[i], &call->arguments[call->count])) return -1;
  return 0;
}

static int observer(void* self, const Value* arguments, int32_t count, Value* result) {
  UNUSED;
  memset(result, 0, sizeof *result);
  result->type_index = kTVMFFIFunction;
  return TVMFFIFunctionCreate(NULL, instrument, NULL, (TVMFFIObjectHandle*)&result->v_obj);
}

/* observe(): forget what was kept, and offer the instrument under its global name. */
FUNCTION(observe) {
  TVMFFIByteArray name = {OBSERVE, sizeof OBSERVE - 1};
  TVMFFIObjectHandle factory;
  int status;
  UNUSED;
  forget();
  if (TVMFFIFunctionCreate(NULL, observer, NULL, &factory)) return -1;
  status = TVMFFIFunctionSetGlobal(&name, factory, 1);
  TVMFFIObjectDecRef(factory);
  return status;
}

/* names() -> bytes: of the kernels that were called, in order, each ended by a zero. */
FUNCTION(names) {
  Buffer buffer = {NULL, 0, 0};
  int status = 0;
  (void)self, (void)arguments, (void)count;
  for (int64_t i = 0; i < called && !status; ++i)
    status = append(&buffer, calls[i].name, strlen(calls[i].name) + 1);
  status = status ? fail("out of memory") : bytes(buffer.data, buffer.size, result);
  free(buffer.data);
  return status;
}

static int place(const Value* arguments, int32_t count, int64_t* value) {
  if (integer(arguments, count, 0, value)) return -1;
  return *value >= 0 && *value < called ? 0 : fail("there is no such call");
}

/* output(position) -> bytes: what that call wrote: type, bits, rank, sizes, elements. */
FUNCTION(output) {
  int64_t position;
  (void)self;
  if (place(arguments, count, &position)) return -1;
  return bytes(calls[position].output, calls[position].size, result);
}

static int again(const Call* call) {
  Value nothing;
  memset(&nothing, 0, sizeof nothing);
  if (TVMFFIFunctionCall(call->function, call->arguments, call->count, &nothing)) return -1;
  drop(&nothing);
  return 0;
}

/* select(position), then call(): one kernel on the buffers that the network gave it. */
FUNCTION(select) {
  UNUSED;
  return place(arguments, count, &selected);
}

FUNCTION(call) {
  UNUSED;
  return selected < called ? again(&calls[selected]) : fail("nothing was observed");
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* replay(repeats) -> bytes: all kernels in order, again and again; seconds, repeat by repeat. */
FUNCTION(replay) {
  int64_t repeats;
  double* spans;
  int status = 0;
  (void)self;
  if (integer(arguments, count, 0, &repeats)) return -1;
  if (repeats < 1 || repeats > 100000) return fail("replay expects 1 to 100000 repeats");
  spans = malloc((size_t)(repeats * called + 1) * sizeof *spans);
  if (spans == NULL) return fail("out of memory");
  /* The first time through warms the caches and does not count. */
  for (int64_t repeat = -1; repeat < repeats && !status; ++repeat)
    for (int64_t i = 0; i < called && !status; ++i) {
      double start = seconds();
      status = again(&calls[i]);
      if (repeat >= 0) spans[repeat * called + i] = seconds() - start;
    }
  if (!status) status = bytes(spans, (size_t)(repeats * called) * sizeof *spans, result);
  free(spans);
  return status;
}
