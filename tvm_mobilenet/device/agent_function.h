/* Kernels of TVM 0.19 by their functions, in the words of agent_relay.h. */

static int open_kernel(const char* path, const char* name, void** made) {
  /* Its loader has filled in what the kernel calls. */
  void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (library == NULL) return fail("the library is not loaded");
  *made = dlsym(library, name);
  return *made ? 0 : fail("the library has no such function");
}

static int invoke(void* kernel, const Turn* turn) {
  int (*function)(TVMValue*, int*, int, TVMValue*, int*, void*);
  TVMValue values[MOST], nothing;
  int codes[MOST], code = kTVMNullptr;
  if (turn->count > MOST) return fail("the agent takes no more arguments");
  for (int32_t i = 0; i < turn->count; ++i) {
    values[i].v_handle = (void*)&turn->arguments[i].tensor;
    codes[i] = kTVMDLTensorHandle;
  }
  *(void**)&function = kernel;
  return function(values, codes, turn->count, &nothing, &code, NULL);
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

static int use_threads(int64_t number) {
  static int64_t workers;
  if (workers == 0) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    setenv("TVM_BIND_THREADS", "0", 1);
    workers = cpus > number ? cpus : number;
    if (configure(workers)) return -1;
  }
  if (number > workers) return fail("more threads than this session's pool was made for");
  return configure(number);
}
