/* apache-tvm's C ABI (tvm_ffi) in the words of agent.c: __tvm_ffi_NAME is the module's function NAME. */
#include <tvm/ffi/c_api.h>

typedef TVMFFIAny Value;

#define FUNCTION(name)                                                                            \
  EXPORT int __tvm_ffi_##name(void* self, const Value* arguments, int32_t count, Value* result);  \
  int __tvm_ffi_##name(void* self, const Value* arguments, int32_t count, Value* result)

static int fail(const char* message) {
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
  return -1;
}

static int integer(const Value* arguments, int32_t count, int32_t place, int64_t* value) {
  if (place >= count || arguments[place].type_index != kTVMFFIInt)
    return fail("the agent expects an integer");
  *value = arguments[place].v_int64;
  return 0;
}

/* Point to a text of any of the three kinds that TVM passes; NULL if it is none. */
static const char* text(const Value* value, size_t* size) {
  if (value->type_index == kTVMFFIRawStr) {
    *size = strlen(value->v_c_str);
    return value->v_c_str;
  }
  if (value->type_index == kTVMFFISmallStr) {
    *size = value->small_str_len;
    return value->v_bytes;
  }
  if (value->type_index == kTVMFFIStr) {
    const TVMFFIByteArray* array = (const TVMFFIByteArray*)((const char*)value->v_obj + sizeof(TVMFFIObject));
    *size = array->size;
    return array->data;
  }
  return NULL;
}

static int bytes(const void* data, size_t size, Value* result) {
  TVMFFIByteArray array = {data, size};
  return TVMFFIBytesFromByteArray(&array, result);
}

static void give(int64_t value, Value* result) {
  result->type_index = kTVMFFIInt;
  result->v_int64 = value;
}

static const DLTensor* tensor(const Value* value) {
  if (value->type_index == kTVMFFIDLTensorPtr) return value->v_ptr;
  if (value->type_index == kTVMFFITensor)
    return (const DLTensor*)((const char*)value->v_obj + sizeof(TVMFFIObject));
  return NULL;
}
