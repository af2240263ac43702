/* TVM 0.19's C ABI (c_runtime_api.h) in the words of agent.c: NAME is the module's function NAME. */
#include <tvm/runtime/c_runtime_api.h>

typedef struct {
  TVMValue value;
  int code;
} Value;

typedef int Body(void* self, const Value* arguments, int32_t count, Value* result);

enum { MOST = 16 };

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
