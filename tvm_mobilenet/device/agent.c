/* What TVM's RPC server does not offer, in one small library that a session uploads.
 *
 * A server knows the functions of TVM's runtime and those of the modules it loads, nothing
 * else. This module adds what checking and timing a network on another machine takes: reading
 * files of /proc and /sys, stating the number of threads, ending a session that hangs or crashes,
 * an instrument of Relax's virtual machine that keeps every kernel's function, arguments and
 * output, and a kernel's call with arguments that take turns. It is used by one thread, the one that serves the session.
 *
 * Functions follow TVM's C ABI: __tvm_ffi_NAME is the module's function NAME.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <glob.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tvm/ffi/c_api.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FUNCTION(name)                                                                    \
  EXPORT int __tvm_ffi_##name(void* self, const TVMFFIAny* arguments, int32_t count,      \
                              TVMFFIAny* result);                                         \
  int __tvm_ffi_##name(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result)
#define UNUSED (void)self, (void)arguments, (void)count, (void)result

/* The global name by which the virtual machine finds the instrument: see set_instrument. */
#define OBSERVE "tvm_mobilenet.observe"

typedef struct {
  char* name;
  TVMFFIObjectHandle function;
  TVMFFIAny* arguments; /* owned */
  int32_t count;
  char* output; /* int64 rank, int64 sizes, elements */
  size_t size;
} Call;

static Call* calls;
static int64_t called, room, selected;

static int fail(const char* message) {
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
  return -1;
}

static int integer(const TVMFFIAny* arguments, int32_t count, int32_t place, int64_t* value) {
  if (place >= count || arguments[place].type_index != kTVMFFIInt)
    return fail("the agent expects an integer");
  *value = arguments[place].v_int64;
  return 0;
}

/* Point to a text of any of the three kinds that TVM passes; NULL if it is none. */
static const char* text(const TVMFFIAny* value, size_t* size) {
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

static int bytes(const void* data, size_t size, TVMFFIAny* result) {
  TVMFFIByteArray array = {data, size};
  return TVMFFIBytesFromByteArray(&array, result);
}

static void drop(TVMFFIAny* value) {
  if (value->type_index >= kTVMFFIStaticObjectBegin) TVMFFIObjectDecRef(value->v_obj);
  memset(value, 0, sizeof *value);
}

typedef struct {
  char* data;
  size_t size, room;
} Buffer;

static int append(Buffer* buffer, const void* data, size_t size) {
  if (buffer->size + size > buffer->room) {
    size_t wanted = 2 * (buffer->size + size);
    char* grown = realloc(buffer->data, wanted);
    if (grown == NULL) return -1;
    buffer->data = grown;
    buffer->room = wanted;
  }
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
  return 0;
}

static int append_file(Buffer* buffer, const char* path) {
  FILE* file = fopen(path, "rb");
  char part[4096];
  uint64_t length = strlen(path), content = 0;
  size_t got, at;
  int failed = 0;
  if (file == NULL) return 0; /* gone, or not for us: the others still say something */
  failed |= append(buffer, &length, sizeof length) || append(buffer, path, length);
  at = buffer->size;
  failed = failed || append(buffer, &content, sizeof content);
  while (!failed && (got = fread(part, 1, sizeof part, file)) > 0) {
    failed = append(buffer, part, got);
    content += got;
  }
  fclose(file);
  if (!failed) memcpy(buffer->data + at, &content, sizeof content);
  return failed;
}

/* files(pattern) -> bytes: for each file that matches, length and path, length and content. */
FUNCTION(files) {
  size_t size;
  const char* pattern = count == 1 ? text(&arguments[0], &size) : NULL;
  Buffer buffer = {NULL, 0, 0};
  glob_t found;
  int status = 0;
  (void)self;
  if (pattern == NULL) return fail("files expects a pattern");
  if (glob(pattern, 0, NULL, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc && !status; ++i)
      status = append_file(&buffer, found.gl_pathv[i]);
    globfree(&found);
  }
  status = status ? fail("out of memory") : bytes(buffer.data, buffer.size, result);
  free(buffer.data);
  return status;
}

/* TVM's server stops listening for good when a session ends otherwise than with status 0. */
static void leave(int number) {
  static const char late[] = "ended: the time was up\n", crashed[] = "ended: it crashed\n";
  const char* said = number == SIGALRM ? late : crashed;
  if (write(2, said, strlen(said)) < 0) _exit(0);
  _exit(0);
}

/* deadline(seconds): end this process then, and when it crashes; 0 lifts the deadline. */
FUNCTION(deadline) {
  static const int signals[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
  static char stack[16384] __attribute__((aligned(64)));
  static int installed;
  int64_t seconds;
  UNUSED;
  if (integer(arguments, count, 0, &seconds)) return -1;
  if (!installed) {
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = leave;
    action.sa_flags = SA_ONSTACK; /* a full stack is a crash too */
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; ++i)
      sigaction(signals[i], &action, NULL);
    installed = 1;
  }
  alarm((unsigned)seconds);
  return 0;
}

/* TVM's pool of this thread: sized once, as large as it may ever be wanted, then lowered. */
static int configure(int64_t number) {
  static const char make_array[] = "ffi.Array", configure_pool[] = "runtime.config_threadpool";
  TVMFFIByteArray names[2] = {{make_array, sizeof make_array - 1},
                              {configure_pool, sizeof configure_pool - 1}};
  TVMFFIObjectHandle functions[2] = {NULL, NULL};
  TVMFFIAny *cpus, arguments[3], nothing;
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

/* threads(number): how many threads kernels use from now on. */
FUNCTION(threads) {
  static int64_t workers;
  int64_t number;
  UNUSED;
  if (integer(arguments, count, 0, &number)) return -1;
  if (number < 1 || number > 4096) return fail("a number of threads is 1 or more");
  if (workers == 0) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    setenv("TVM_BIND_THREADS", "0", 1);
    workers = cpus > number ? cpus : number;
    if (configure(workers)) return -1;
  }
  if (number > workers) return fail("more threads than this session's pool was made for");
  return configure(number);
}

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

static const DLTensor* tensor(const TVMFFIAny* value) {
  if (value->type_index == kTVMFFIDLTensorPtr) return value->v_ptr;
  if (value->type_index == kTVMFFITensor)
    return (const DLTensor*)((const char*)value->v_obj + sizeof(TVMFFIObject));
  return NULL;
}

static int keep_output(Call* call, const DLTensor* from) {
  int64_t rank = from->ndim;
  size_t head = (size_t)(1 + rank) * sizeof(int64_t), elements = (size_t)(from->dtype.bits / 8);
  for (int64_t i = 0; i < rank; ++i) elements *= (size_t)from->shape[i];
  call->size = head + elements;
  call->output = malloc(call->size);
  if (call->output == NULL) return -1;
  memcpy(call->output, &rank, sizeof rank);
  memcpy(call->output + sizeof rank, from->shape, head - sizeof rank);
  memcpy(call->output + head, (const char*)from->data + from->byte_offset, elements);
  return 0;
}

/* instrument(function, name, starting, result, arguments...): keep what a kernel did. */
static int instrument(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
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
  call->arguments = calloc((size_t)count - 4, sizeof(TVMFFIAny));
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

static int observer(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
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

static int place(const TVMFFIAny* arguments, int32_t count, int64_t* value) {
  if (integer(arguments, count, 0, value)) return -1;
  return *value >= 0 && *value < called ? 0 : fail("there is no such call");
}

/* output(position) -> bytes: what that call wrote: rank, sizes, elements. */
FUNCTION(output) {
  int64_t position;
  (void)self;
  if (place(arguments, count, &position)) return -1;
  return bytes(calls[position].output, calls[position].size, result);
}

static int again(const Call* call) {
  TVMFFIAny nothing;
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

/* A kernel by itself. Its arguments stay where they are: who sent them keeps the tensors. */
enum { ARGUMENTS = 8, AXES = 8 };
typedef struct Turn {
  struct Turn* next;
  int32_t count;
  TVMFFIAny values[ARGUMENTS];
  DLTensor tensors[ARGUMENTS];
  int64_t shapes[ARGUMENTS][AXES];
} Turn;

static Turn *turns, *last_turn;
static int (*kernel_function)(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);

/* kernel(file, name): what step() calls from now on, of a library that is loaded. */
FUNCTION(kernel) {
  size_t size;
  char path[512], symbol[512];
  const char* file = count == 2 ? text(&arguments[0], &size) : NULL;
  const char* name = count == 2 ? text(&arguments[1], &size) : NULL;
  void* library;
  UNUSED;
  if (file == NULL || name == NULL) return fail("kernel expects a file and a name");
  if (snprintf(path, sizeof path, "./%s", file) >= (int)sizeof path ||
      snprintf(symbol, sizeof symbol, "__tvm_ffi_%s", name) >= (int)sizeof symbol)
    return fail("the name is too long");
  /* Of this session's folder, where TVM's server keeps uploads; it is in memory already. */
  library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (library == NULL) return fail("the library is not loaded");
  *(void**)&kernel_function = dlsym(library, symbol);
  return kernel_function ? 0 : fail("the library has no such function");
}

/* turns(): forget all sets of arguments. */
FUNCTION(turns) {
  UNUSED;
  while (turns != NULL) {
    Turn* next = turns->next;
    int end = turns == last_turn;
    free(turns);
    turns = end ? NULL : next;
  }
  last_turn = NULL;
  return 0;
}

/* turn(tensors...): one more set of arguments. */
FUNCTION(turn) {
  Turn* made;
  UNUSED;
  if (count > ARGUMENTS) return fail("more arguments than a kernel has");
  made = calloc(1, sizeof *made);
  if (made == NULL) return fail("out of memory");
  made->count = count;
  for (int32_t i = 0; i < count; ++i) {
    const DLTensor* from = tensor(&arguments[i]);
    if (from == NULL || from->ndim > AXES) {
      free(made);
      return fail("turn expects tensors");
    }
    made->tensors[i] = *from;
    memcpy(made->shapes[i], from->shape, (size_t)from->ndim * sizeof(int64_t));
    made->tensors[i].shape = made->shapes[i];
    made->tensors[i].strides = NULL;
    /* Kernels take no offset. */
    made->tensors[i].data = (char*)from->data + from->byte_offset;
    made->tensors[i].byte_offset = 0;
    made->values[i].type_index = kTVMFFIDLTensorPtr;
    made->values[i].v_ptr = &made->tensors[i];
  }
  if (last_turn == NULL) turns = made;
  else last_turn->next = made;
  made->next = turns;
  last_turn = made;
  return 0;
}

/* step(): call the kernel with the next set of arguments; after turn() with the first. */
FUNCTION(step) {
  TVMFFIAny nothing;
  UNUSED;
  if (kernel_function == NULL || last_turn == NULL) return fail("there is no kernel, or no turn");
  last_turn = last_turn->next;
  memset(&nothing, 0, sizeof nothing);
  return kernel_function(NULL, last_turn->values, last_turn->count, &nothing);
}

/* rewind(): the next step takes the first set; returns a hash (FNV-1a) of its inputs. */
FUNCTION(rewind) {
  uint64_t hash = 14695981039346656037u;
  (void)self, (void)arguments, (void)count;
  if (turns == NULL) return fail("there is no turn");
  while (last_turn->next != turns) last_turn = last_turn->next;
  for (int32_t i = 0; i + 1 < turns->count; ++i) {
    const DLTensor* from = &turns->tensors[i];
    size_t words = (size_t)(from->dtype.bits / 8);
    for (int32_t axis = 0; axis < from->ndim; ++axis) words *= (size_t)from->shape[axis];
    words /= sizeof(uint32_t);
    for (size_t k = 0; k < words; ++k)
      hash = (hash ^ ((const uint32_t*)from->data)[k]) * 1099511628211u;
  }
  result->type_index = kTVMFFIInt;
  result->v_int64 = (int64_t)hash;
  return 0;
}
