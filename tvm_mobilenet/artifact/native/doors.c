/* Where kernels meet whoever called them: TVM's virtual machine or the C interface.
 *
 * Code that TVM generates calls three functions by pointers that TVM's loader fills, and one by its
 * name. In this file those four have names of our own (artifact/kernel_symbols.py), and lead here.
 * A thread that runs a part of a context is served by that context; any other has come by TVM's
 * door, and is passed on to what TVM's loader filled in. So both doors are open at the same time, in
 * one process, in threads side by side, and neither knows of the other.
 */
#include <stdio.h>
#include <stdlib.h>

#include "context.h"

_Thread_local struct tmn_part* tmn_current;

struct group {
  void* sync_handle;
  int32_t count;
};

typedef int (*region_part)(int number, struct group* group, void* closure);
typedef int (*launch_function)(region_part part, void* closure, int wanted);
typedef void* (*allocate_function)(int device, int number, uint64_t bytes, int code, int bits);
typedef int (*free_function)(int device, int number, void* memory);

/* TVM's own, which a process without TVM has not. */
#define WEAK __attribute__((weak))
extern WEAK int TVMBackendParallelLaunch(region_part part, void* closure, int wanted);
extern WEAK void* TVMBackendAllocWorkspace(int device, int number, uint64_t bytes, int code,
                                           int bits);
extern WEAK int TVMBackendFreeWorkspace(int device, int number, void* memory);
extern WEAK void TVMFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts,
                                                   int32_t count);

/* TVM's loader looks for these three by their names, and fills them as it loads the file. Until then
 * they must work: where a program is linked to this file, the dynamic linker lets other files that TVM
 * compiled use these pointers for their own of the same names, and TVM's loader fills theirs. */
static int launch_unfilled(region_part part, void* closure, int wanted) {
  struct group alone = {.count = 1};
  if (TVMBackendParallelLaunch) return TVMBackendParallelLaunch(part, closure, wanted);
  return part(0, &alone, closure);
}

static void* allocate_unfilled(int device, int number, uint64_t bytes, int code, int bits) {
  void* memory;
  if (TVMBackendAllocWorkspace) return TVMBackendAllocWorkspace(device, number, bytes, code, bits);
  return posix_memalign(&memory, TVM_MOBILENET_ALIGNMENT, bytes) ? NULL : memory;
}

static int free_unfilled(int device, int number, void* memory) {
  if (TVMBackendFreeWorkspace) return TVMBackendFreeWorkspace(device, number, memory);
  free(memory);
  return 0;
}

TMN_PUBLIC launch_function __TVMBackendParallelLaunch = launch_unfilled;
TMN_PUBLIC allocate_function __TVMBackendAllocWorkspace = allocate_unfilled;
TMN_PUBLIC free_function __TVMBackendFreeWorkspace = free_unfilled;

struct region {
  region_part part;
  void* closure;
  struct tvm_mobilenet_context* context;
  struct group group;
  _Atomic int32_t failed;
};

static void run_part(void* data, int32_t number) {
  struct region* region = data;
  if (number >= region->group.count) return;
  struct tmn_part* before = tmn_current;
  struct tmn_part* part = &region->context->parts[number];
  if (number != 0) part->used = 0; /* part 0 is the caller's, who may hold some */
  part->in_region = 1;
  tmn_current = part;
  int64_t begun = region->context->observed ? tmn_now() : 0;
  if (region->part(number, &region->group, region->closure)) atomic_store(&region->failed, 1);
  if (region->context->observed) part->ns = tmn_now() - begun;
  tmn_current = before;
  part->in_region = 0;
}

static void observe(struct tvm_mobilenet_context* context, int32_t count, int64_t ns) {
  tvm_mobilenet_observation* found = context->observed;
  int64_t longest = 0;
  for (int32_t i = 0; i < count; i++) {
    int64_t part = context->parts[i].ns;
    if (part > longest) longest = part;
    found->work_ns += part;
  }
  found->longest_ns += longest;
  found->regions_ns += ns;
  found->regions++;
}

static int launch(region_part part, void* closure, int wanted) {
  struct tmn_part* caller = tmn_current;
  if (caller == NULL) return __TVMBackendParallelLaunch(part, closure, wanted);
  struct tvm_mobilenet_context* context = caller->context;
  struct region region = {.part = part, .closure = closure, .context = context};
  int32_t count = context->threads;
  if (wanted > 0 && wanted < count) count = wanted;
  if (caller->in_region) {
    region.group.count = 1;
    return part(0, &region.group, closure);
  }
  region.group.count = count;
  int64_t begun = context->observed ? tmn_now() : 0;
  if (count == 1) {
    run_part(&region, 0);
  } else if (context->parallel_for) {
    tmn_current = NULL; /* what it does beside our parts is not ours */
    context->parallel_for(context->user, count, run_part, &region);
    tmn_current = caller;
  } else {
    tmn_pool_run(&context->pool, run_part, &region);
  }
  if (context->observed) observe(context, count, tmn_now() - begun);
  return atomic_load(&region.failed) ? -1 : 0;
}

static void* allocate(int device, int number, uint64_t bytes, int code, int bits) {
  struct tmn_part* part = tmn_current;
  if (part == NULL) return __TVMBackendAllocWorkspace(device, number, bytes, code, bits);
  size_t size = tmn_aligned(bytes);
  if (bytes > SIZE_MAX - TVM_MOBILENET_ALIGNMENT || size > tmn_network.scratch_bytes - part->used) {
    return NULL; /* the kernel gives up, and the run fails */
  }
  void* memory = part->scratch + part->used;
  part->used += size;
  return memory;
}

static int give_back(int device, int number, void* memory) {
  struct tmn_part* part = tmn_current;
  if (part == NULL) return __TVMBackendFreeWorkspace(device, number, memory);
  part->used = (size_t)((char*)memory - part->scratch);
  return 0;
}

/* What kernels call by pointers: of the types that TVM's own have, never changed. */
launch_function __tmnBackendParallelLaunch = launch;
allocate_function __tmnBackendAllocWorkspace = allocate;
free_function __tmnBackendFreeWorkspace = give_back;

/* What kernels call before they return an error. */
void tmnFFIErrorSetRaisedFromCStrParts(const char* kind, const char** parts, int32_t count) {
  struct tmn_part* part = tmn_current;
  if (part == NULL) {
    if (TVMFFIErrorSetRaisedFromCStrParts) TVMFFIErrorSetRaisedFromCStrParts(kind, parts, count);
    return;
  }
  struct tvm_mobilenet_context* context = part->context;
  if (atomic_exchange(&context->has_error, 1)) return; /* the first one says why */
  size_t at = (size_t)snprintf(context->error, TMN_ERROR_BYTES, "%s: ", kind);
  for (int32_t i = 0; i < count && at < TMN_ERROR_BYTES; i++) {
    if (parts[i]) at += (size_t)snprintf(context->error + at, TMN_ERROR_BYTES - at, "%s", parts[i]);
  }
}
