/* apache-tvm's C ABI (tvm_ffi) in the words of agent.c: __tvm_ffi_NAME is the module's function NAME. */
#include <tvm/ffi/c_api.h>

typedef TVMFFIAny Value;

#define SYMBOL "__tvm_ffi_%s"
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

static void drop(Value* value) {
  if (value->type_index >= kTVMFFIStaticObjectBegin) TVMFFIObjectDecRef(value->v_obj);
  memset(value, 0, sizeof *value);
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

static Value argument(DLTensor* from) {
  Value made;
  memset(&made, 0, sizeof made);
  made.type_index = kTVMFFIDLTensorPtr;
  made.v_ptr = from;
  return made;
}

/* Call a function of a library by its address. */
static int invoke(void* address, const Value* arguments, int32_t count) {
  int (*function)(void*, const Value*, int32_t, Value*);
  Value nothing;
  *(void**)&function = address;
  memset(&nothing, 0, sizeof nothing);
  return function(NULL, arguments, count, &nothing);
}

/* TVM's pool of this thread: sized once, as large as it may ever be wanted, then lowered. */
static int configure(int64_t number) {
  static const char make_array[] = "ffi.Array", configure_pool[] = "runtime.config_threadpool";
  TVMFFIByteArray names[2] = {{make_array, sizeof make_array - 1},
                              {configure_pool, sizeof configure_pool - 1}};
  TVMFFIObjectHandle functions[2] = {NULL, NULL};
  Value *cpus, arguments[3], nothing;
  int status = -1;
  for (int i = 0; i < 2; ++i)
    if (TVMFFIFunctionGetGlobal(&names[i], &functions[i]) || functions[i] == NULL)
      return fail("this TVM has no thread pool to configure");
  cpus = calloc((size_t)number, sizeof *cpus);
  memset(arguments, 0, sizeof arguments);
  memset(&nothing, 0, sizeof nothing);
  if (cpus == NULL) {
    fail("out of memory");
  } else {
    for (int64_t i = 0; i < number; ++i) {
      cpus[i].type_index = kTVMFFIRawStr;
      cpus[i].v_c_str = "0"; /* named, but never pinned to: TVM_BIND_THREADS is 0 */
    }
    arguments[0].type_index = arguments[1].type_index = kTVMFFIInt;
    arguments[0].v_int64 = -3; /* AffinityMode::kSpecifyThreadShareAllCore */
    status = TVMFFIFunctionCall(functions[0], cpus, (int32_t)number, &arguments[2]);
    if (status == 0) status = TVMFFIFunctionCall(functions[1], arguments, 3, &nothing);
  }
  free(cpus);
  drop(&arguments[2]);
  drop(&nothing);
  TVMFFIObjectDecRef(functions[0]);
  TVMFFIObjectDecRef(functions[1]);
  return status;
}
