/* A driver and runtime of CUDA without a GPU: memory is malloc's, streams do everything at once,
 * graphs repeat the launches that they saw. Enough for TVM's CUDA runtime to load a network and
 * launch it; what it does is written to $FAKE_CUDA_LOG, a line for each event.
 *
 * FAKE_CUDA_SPEAKS   what cuDriverGetVersion says, 13000
 * FAKE_CUDA_COUNT    GPUs, 1
 * FAKE_CUDA_ARCH     compute capability, 90
 * FAKE_CUDA_MEMORY   bytes, 1 << 30; FAKE_CUDA_FREE of them, FAKE_CUDA_LIMIT that there really are
 * FAKE_CUDA_KERNELS  library whose `run_kernel` computes what a kernel would, on the processor
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 4096, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NO_BINARY = 209, NOT_FOUND = 500,
       ILLEGAL_ADDRESS = 700 };

typedef struct { unsigned grid[3], block[3], shared; void *stream, *attributes; unsigned count; } Config;
typedef struct { char name[512]; } Function;
typedef struct { Function *function; Config config; int count; unsigned long long values[32]; } Launch;
typedef struct { int count; Launch launches[MOST]; } Graph;
/* Runs the kernel and returns how many arguments it has; with `run` 0 only says that. */
typedef int (*Run)(const char *name, const unsigned *grid, const unsigned *block, unsigned shared,
                   void **arguments, int run);

static struct { char *start; size_t size; } blocks[MOST];
static size_t used;
static Graph *capturing;
static Run run_kernel;

static long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

static void say(const char *form, ...) {
  const char *path = getenv("FAKE_CUDA_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  __builtin_va_list list;
  __builtin_va_start(list, form);
  vfprintf(file, form, list);
  __builtin_va_end(list);
  fputc('\n', file);
  fclose(file);
}

static int on_device(const void *where) {
  for (int i = 0; i < MOST; i++)
    if (blocks[i].start && (char *)where >= blocks[i].start && (char *)where < blocks[i].start + blocks[i].size)
      return 1;
  return 0;
}

/* The driver. */

int cuInit(unsigned flags) { return setting("FAKE_CUDA_COUNT", 1) ? 0 : NO_DEVICE; }
int cuDriverGetVersion(int *version) { *version = (int)setting("FAKE_CUDA_SPEAKS", 13000); return 0; }
int cuDeviceGetCount(int *count) { *count = (int)setting("FAKE_CUDA_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Fake GPU"); return 0; }
int cuDeviceTotalMem_v2(size_t *size, int device) { *size = setting("FAKE_CUDA_MEMORY", 1L << 30); return 0; }
int cuDeviceGetAttribute(int *value, int kind, int device) {
  long arch = setting("FAKE_CUDA_ARCH", 90);
  *value = kind == 75 ? arch / 10 : kind == 76 ? arch % 10 : 0; /* of the rest it says nothing */
  return 0;
}
int cuGetErrorName(int error, const char **name) { *name = error == NO_BINARY ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "CUDA_ERROR_FAKE"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "an error of the fake driver"; return 0; }
int cuTensorMapEncodeTiled() { return NOT_FOUND; }
int cuFuncSetAttribute(void *function, int attribute, int value) { say("attribute %d %d", attribute, value); return 0; }

int cuModuleLoadData(void **module, const void *image) {
  if (memcmp(image, "\177ELF", 4)) return NO_BINARY;
  *module = (void *)image;
  say("module");
  return 0;
}
int cuModuleUnload(void *module) { return 0; }
int cuModuleGetFunction(Function **function, void *module, const char *name) {
  /* The name of a kernel's section in machine code; sections' headers lie behind all names. */
  char section[600];
  snprintf(section, sizeof section, ".text.%s", name);
  const unsigned char *image = module;
  size_t size = *(const size_t *)(image + 40) + 64;
  if (!memmem(image, size, section, strlen(section) + 1)) return NOT_FOUND;
  *function = calloc(1, sizeof(Function));
  snprintf((*function)->name, sizeof (*function)->name, "%s", name);
  return 0;
}

static int execute(const Launch *launch) {
  void *arguments[32];
  for (int i = 0; i < launch->count; i++) arguments[i] = (void *)&launch->values[i];
  const Config *c = &launch->config;
  if (run_kernel && run_kernel(launch->function->name, c->grid, c->block, c->shared, arguments, 1) < 0)
    abort();
  return 0;
}

int cuLaunchKernelEx(const Config *config, Function *function, void **arguments, void **extra) {
  if (!run_kernel && getenv("FAKE_CUDA_KERNELS")) {
    void *library = dlopen(getenv("FAKE_CUDA_KERNELS"), RTLD_NOW | RTLD_LOCAL);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); abort(); }
    run_kernel = (Run)dlsym(library, "run_kernel");
  }
  Launch launch = {function, *config, 0, {0}};
  const unsigned *g = config->grid, *b = config->block;
  if (run_kernel) launch.count = run_kernel(function->name, g, b, config->shared, arguments, 0);
  for (int i = 0; i < launch.count; i++) {
    launch.values[i] = *(unsigned long long *)arguments[i];
    if (!on_device((void *)launch.values[i])) return ILLEGAL_ADDRESS;
  }
  say("%s %s %u %u %u %u %u %u %u", capturing ? "captured" : "launch", function->name, g[0], g[1], g[2],
      b[0], b[1], b[2], config->shared);
  if (!capturing) return execute(&launch);
  if (capturing->count == MOST) return OUT_OF_MEMORY;
  capturing->launches[capturing->count++] = launch;
  return 0;
}

/* The runtime. */

int cudaGetDeviceCount(int *count) { return cuDeviceGetCount(count); }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaSetDevice(int device) { return device ? 101 : 0; }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
int cudaGetDeviceProperties(void *properties, int device) { return 0; }
int cudaDeviceGetAttribute(int *value, int kind, int device) { return cuDeviceGetAttribute(value, kind, device); }
const char *cudaGetErrorName(int error) { return error == OUT_OF_MEMORY ? "cudaErrorMemoryAllocation" : "cudaErrorFake"; }
const char *cudaGetErrorString(int error) { return error == OUT_OF_MEMORY ? "out of memory" : "an error of the fake driver"; }

int cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  *total = setting("FAKE_CUDA_MEMORY", 1L << 30);
  *free_bytes = setting("FAKE_CUDA_FREE", *total - used);
  return 0;
}
int cudaMalloc(void **where, size_t size) {
  if (used + size > (size_t)setting("FAKE_CUDA_LIMIT", 1L << 30)) return OUT_OF_MEMORY;
  for (int i = 0; i < MOST; i++)
    if (!blocks[i].start) {
      *where = aligned_alloc(256, (size + 255) / 256 * 256);
      memset(*where, 0xff, size); /* NaN: what nobody has written is seen */
      blocks[i].start = *where;
      blocks[i].size = size;
      used += size;
      say("malloc %zu", size);
      return 0;
    }
  return OUT_OF_MEMORY;
}
int cudaFree(void *where) {
  for (int i = 0; i < MOST; i++)
    if (blocks[i].start && blocks[i].start == where) {
      used -= blocks[i].size;
      free(where);
      blocks[i].start = NULL;
      return 0;
    }
  return where ? 1 : 0;
}
int cudaMallocHost(void **where, size_t size) { *where = aligned_alloc(256, (size + 255) / 256 * 256); return 0; }
int cudaFreeHost(void *where) { free(where); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
  if (capturing) return 900; /* cudaErrorStreamCaptureUnsupported: pageable memory, legacy stream */
  if ((kind != 2) != on_device(to) || (kind != 1) != on_device(from)) return ILLEGAL_ADDRESS;
  memcpy(to, from, size);
  say("copy %s %zu", kind == 1 ? "in" : kind == 2 ? "out" : "within", size);
  return 0;
}
int cudaMemcpyPeerAsync(void *to, int a, const void *from, int b, size_t size, void *stream) { return 101; }

static int make(void **what) { *what = malloc(1); return 0; }
int cudaStreamCreate(void **stream) { return make(stream); }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { return make(stream); }
int cudaStreamDestroy(void *stream) { free(stream); return 0; }
int cudaStreamSynchronize(void *stream) { return capturing ? 900 : 0; }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { return 0; }
int cudaEventCreate(struct timespec **event) { *event = calloc(1, sizeof **event); return 0; }
int cudaEventDestroy(void *event) { free(event); return 0; }
int cudaEventRecord(struct timespec *event, void *stream) { return clock_gettime(CLOCK_MONOTONIC, event); }
int cudaEventSynchronize(void *event) { return 0; }
int cudaEventElapsedTime(float *milliseconds, const struct timespec *start, const struct timespec *stop) {
  *milliseconds = (stop->tv_sec - start->tv_sec) * 1e3f + (stop->tv_nsec - start->tv_nsec) * 1e-6f;
  return 0;
}

int cudaStreamBeginCapture(void *stream, int mode) {
  capturing = calloc(1, sizeof(Graph));
  return 0;
}
int cudaStreamEndCapture(void *stream, Graph **graph) {
  *graph = capturing;
  capturing = NULL;
  return 0;
}
int cudaGraphInstantiate(Graph **exec, Graph *graph, unsigned long long flags) {
  *exec = malloc(sizeof(Graph));
  memcpy(*exec, graph, sizeof(Graph));
  return 0;
}
int cudaGraphDestroy(Graph *graph) { free(graph); return 0; }
int cudaGraphExecDestroy(Graph *exec) { free(exec); return 0; }
int cudaGraphLaunch(Graph *exec, void *stream) {
  say("graph %d", exec->count);
  for (int i = 0; i < exec->count; i++) execute(&exec->launches[i]);
  return 0;
}

/* The same by the driver's names, which the tuner calls. */

int cuDevicePrimaryCtxRetain(void **context, int device) { return make(context); }
int cuCtxSetCurrent(void *context) { return 0; }
int cuMemAlloc_v2(void **where, size_t size) { return cudaMalloc(where, size); }
int cuMemFree_v2(void *where) { return cudaFree(where); }
int cuMemcpyHtoD_v2(void *to, const void *from, size_t size) { return cudaMemcpyAsync(to, from, size, 1, 0); }
int cuMemcpyDtoH_v2(void *to, const void *from, size_t size) { return cudaMemcpyAsync(to, from, size, 2, 0); }
int cuStreamCreate(void **stream, unsigned flags) { return make(stream); }
int cuStreamSynchronize(void *stream) { return cudaStreamSynchronize(stream); }
int cuStreamBeginCapture_v2(void *stream, int mode) { return cudaStreamBeginCapture(stream, mode); }
int cuStreamEndCapture(void *stream, Graph **graph) { return cudaStreamEndCapture(stream, graph); }
int cuGraphInstantiateWithFlags(Graph **exec, Graph *graph, unsigned long long flags) { return cudaGraphInstantiate(exec, graph, flags); }
int cuGraphLaunch(Graph *exec, void *stream) { return cudaGraphLaunch(exec, stream); }
int cuGraphDestroy(Graph *graph) { return cudaGraphDestroy(graph); }
int cuGraphExecDestroy(Graph *exec) { return cudaGraphExecDestroy(exec); }
int cuEventCreate(struct timespec **event, unsigned flags) { return cudaEventCreate(event); }
int cuEventRecord(struct timespec *event, void *stream) { return cudaEventRecord(event, stream); }
int cuEventSynchronize(void *event) { return 0; }
int cuEventElapsedTime(float *milliseconds, const struct timespec *start, const struct timespec *stop) { return cudaEventElapsedTime(milliseconds, start, stop); }
int cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 48 << 10; return 0; }
int cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
  Config config = {{gx, gy, gz}, {bx, by, bz}, shared, stream, 0, 0};
  return cuLaunchKernelEx(&config, function, arguments, extra);
}
