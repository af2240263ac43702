/* TVM 0.19's C ABI (c_runtime_api.h) in the words of agent.c: NAME is the module's function NAME. */
#include <tvm/runtime/c_runtime_api.h>

typedef struct {
  TVMValue value;
  int code;
} Value;

typedef int Body(void* self, const Value* arguments, int32_t count, Value* result);

enum { MOST = 16 };

#define SYMBOL "%s"
/* The label keeps names apart that C's own library has too. */
#define FUNCTION(name)                                                                           \
  static Body name##_body;                                                                       \
  EXPORT int name##_entry(TVMValue* values, int* codes, int count, TVMValue* out, int* out_code, \
                          void* resource) __asm__(#name);                                        \
  int name##_entry(TVMValue* values, int* codes, int count, TVMValue* out, int* out_code,        \
                   void* resource) {                                                             \
    (void)resource;                                                                              \
    return enter(name##_body, values, codes, count, out, out_code);                              \
  }                                                                                              \
  static int name##_body(void* self, const Value* arguments, int32_t count, Value* result)

static int fail(const char* message) {
  TVMAPISetLastError(message);
  return -1;
}

static int enter(Body* body, const TVMValue* values, const int* codes, int count, TVMValue* out,
                 int* out_code) {
  Value arguments[MOST], result;
  int status;
  if (count > MOST) return fail("the agent takes no more arguments");
  for (int i = 0; i < count; ++i) {
    arguments[i].value = values[i];
    arguments[i].code = codes[i];
  }
  memset(&result, 0, sizeof result);
  result.code = kTVMNullptr;
  status = body(NULL, arguments, count, &result);
  *out = result.value;
  *out_code = result.code;
  return status;
}

static int integer(const Value* arguments, int32_t count, int32_t place, int64_t* value) {
  if (place >= count || arguments[place].code != kTVMArgInt)
    return fail("the agent expects an integer");
  *value = arguments[place].value.v_int64;
  return 0;
}

/* Point to a text; NULL if it is none. */
static const char* text(const Value* value, size_t* size) {
  if (value->code != kTVMStr) return NULL;
  *size = strlen(value->value.v_str);
  return value->value.v_str;
}

/* A function of a library returns no bytes in this ABI, but tensors. */
static int bytes(const void* data, size_t size, Value* result) {
  tvm_index_t shape = (tvm_index_t)size;
  TVMArrayHandle made;
  if (TVMArrayAlloc(&shape, 1, kDLUInt, 8, 1, kDLCPU, 0, &made)) return -1;
  if (size) memcpy(made->data, data, size);
  result->value.v_handle = made;
  result->code = kTVMNDArrayHandle;
  return 0;
}

static void give(int64_t value, Value* result) {
  result->value.v_int64 = value;
  result->code = kTVMArgInt;
}

static const DLTensor* tensor(const Value* value) {
  int is_tensor = value->code == kTVMDLTensorHandle || value->code == kTVMNDArrayHandle;
  return is_tensor ? value->value.v_handle : NULL;
}

static Value argument(DLTensor* from) {
  Value made;
  made.value.v_handle = from;
  made.code = kTVMDLTensorHandle;
  return made;
}

/* Call a function of a library by its address. */
static int invoke(void* address, const Value* arguments, int32_t count) {
  int (*function)(TVMValue*, int*, int, TVMValue*, int*, void*);
  TVMValue values[MOST], nothing;
  int codes[MOST], code = kTVMNullptr;
  if (count > MOST) return fail("the agent takes no more arguments");
  for (int32_t i = 0; i < count; ++i) {
    values[i] = arguments[i].value;
    codes[i] = arguments[i].code;
  }
  *(void**)&function = address;
  return function(values, codes, count, &nothing, &code, NULL);
}

/* Call one of the runtime's functions by name. */
static int runtime(const char* name, TVMValue* values, int* codes, int count, TVMValue* result) {
  TVMFunctionHandle function;
  int code = kTVMNullptr;
  if (TVMFuncGetGlobal(name, &function) || function == NULL)
    return fail("this TVM has no thread pool to configure");
  return TVMFuncCall(function, values, codes, count, result, &code);
}

/* TVM's pool of this thread: sized once, as large as it may ever be wanted, then lowered. */
static int configure(int64_t number) {
  TVMValue name, word, arguments[3], nothing, *cpus = calloc((size_t)number, sizeof *cpus);
  int *codes = calloc((size_t)number, sizeof *codes), string = kTVMStr;
  int kinds[3] = {kTVMArgInt, kTVMArgInt, kTVMObjectHandle}, status = -1;
  name.v_str = "0"; /* named, but never pinned to: TVM_BIND_THREADS is 0 */
  arguments[0].v_int64 = -3; /* AffinityMode::kSpecifyThreadShareAllCore */
  arguments[1].v_int64 = 0;
  if (cpus == NULL || codes == NULL) {
    fail("out of memory");
  } else if ((status = runtime("runtime.String", &name, &string, 1, &word)) == 0) {
    for (int64_t i = 0; i < number; ++i) {
      cpus[i] = word;
      codes[i] = kTVMObjectHandle;
    }
    status = runtime("runtime.Array", cpus, codes, (int)number, &arguments[2]);
    if (status == 0) {
      status = runtime("runtime.config_threadpool", arguments, kinds, 3, &nothing);
      TVMObjectFree(arguments[2].v_handle);
    }
    TVMObjectFree(word.v_handle);
  }
  free(cpus);
  free(codes);
  return status;
}
