/* A network of three calls without TVM, for tests of the C runtime: y = 2 x + 1 in parallel, through
 * scratch memory; a call that fails where the first element is negative; the input again. */
#include <string.h>

#include "network.h"

enum { COUNT = 1000 };

struct group {
  void* sync_handle;
  int32_t count;
};

extern int (*__tmnBackendParallelLaunch)(int (*)(int, struct group*, void*), void*, int);
extern void* (*__tmnBackendAllocWorkspace)(int, int, uint64_t, int, int);
extern int (*__tmnBackendFreeWorkspace)(int, int, void*);
extern void tmnFFIErrorSetRaisedFromCStrParts(const char*, const char**, int32_t);

const char tmn_manifest[] = "{}";
static const float weights[COUNT] __attribute__((aligned(64))) = {[0] = 1.0f, [COUNT - 1] = 1.0f};

struct closure {
  const float* x;
  float* y;
  uint64_t scratch;
};

static int double_part(int number, struct group* group, void* data) {
  struct closure* closure = data;
  int each = (COUNT + group->count - 1) / group->count, begin = number * each;
  int end = begin + each < COUNT ? begin + each : COUNT;
  if (begin >= end) return 0;
  float* scratch = __tmnBackendAllocWorkspace(1, 0, closure->scratch, 2, 32);
  if (scratch == NULL) return -1;
  for (int i = begin; i < end; i++) scratch[i - begin] = 2.0f * closure->x[i];
  for (int i = begin; i < end; i++) closure->y[i] = scratch[i - begin] + 1.0f;
  return __tmnBackendFreeWorkspace(1, 0, scratch);
}

/* Nested as no kernel is, and holding memory outside of the region. */
static int outer_part(int number, struct group* group, void* data) {
  (void)group;
  return number == 0 ? __tmnBackendParallelLaunch(double_part, data, 0) : 0;
}

static int launch_double(const struct tmn_any* arguments, int nested) {
  struct tmn_dltensor* x = arguments[0].value.pointer;
  struct tmn_dltensor* y = arguments[1].value.pointer;
  struct closure closure = {x->data, y->data, COUNT * sizeof(float)};
  if (closure.x[1] == 99.0f) closure.scratch = 1 << 20; /* more than was planned */
  void* held = __tmnBackendAllocWorkspace(1, 0, 100, 2, 32);
  if (held == NULL || (uintptr_t)held % 64) return -1;
  memset(held, 0x7f, 100);
  int failed = __tmnBackendParallelLaunch(nested ? outer_part : double_part, &closure, 0);
  return __tmnBackendFreeWorkspace(1, 0, held) || failed;
}

static int doubled(void* self, const struct tmn_any* arguments, int32_t count,
                   struct tmn_any* result) {
  (void)self, (void)result;
  return count == 2 ? launch_double(arguments, 0) : -1;
}

static int nested(void* self, const struct tmn_any* arguments, int32_t count,
                  struct tmn_any* result) {
  (void)self, (void)result;
  return count == 2 ? launch_double(arguments, 1) : -1;
}

static int checked(void* self, const struct tmn_any* arguments, int32_t count,
                   struct tmn_any* result) {
  (void)self, (void)result;
  const float* x = ((struct tmn_dltensor*)arguments[0].value.pointer)->data;
  if (count != 2 || arguments[1].type != TMN_INTEGER || arguments[1].value.integer != 7) return -1;
  if (x[0] >= 0) return 0;
  const char* parts[] = {"the first element", NULL, " is negative"};
  tmnFFIErrorSetRaisedFromCStrParts("ValueError", parts, 3);
  return -1;
}

static const int64_t shape[] = {1, COUNT};
static const tvm_mobilenet_tensor inputs[] = {
    {"x", "NC", shape, 2, TVM_MOBILENET_FLOAT32, COUNT * sizeof(float), 64, 1.0f, 0},
};
static const tvm_mobilenet_tensor outputs[] = {
    {"y", "NC", shape, 2, TVM_MOBILENET_FLOAT32, COUNT * sizeof(float), 64, 1.0f, 0},
    {"same", "NC", shape, 2, TVM_MOBILENET_FLOAT32, COUNT * sizeof(float), 64, 1.0f, 0},
    {"constant", "NC", shape, 2, TVM_MOBILENET_FLOAT32, COUNT * sizeof(float), 64, 1.0f, 0},
};
static const struct tmn_view views[] = {
    {{TMN_INPUT, 0}, shape, 2, 2, 32},
    {{TMN_OUTPUT, 0}, shape, 2, 2, 32},
    {{TMN_STORAGE, 64}, shape, 2, 2, 32},
};
/* Written to storage by way of one kind of region, to the output by the other. */
static const struct tmn_argument arguments[] = {{0, 0}, {-1, 7}, {0, 0}, {2, 0}, {0, 0}, {1, 0}};
static const struct tmn_call calls[] = {
    {checked, "checked", 0, 2}, {nested, "nested", 2, 2}, {doubled, "doubled", 4, 2}};
static const struct tmn_copy copies[] = {{1, {TMN_INPUT, 0}}, {2, {TMN_WEIGHTS, 0}}};
#ifdef LACKING
static const struct tmn_need needs[] = {{"no_processor_has_this", 0, 0}};
#else
static const struct tmn_need needs[] = {{NULL, 0, 0}};
#endif

const struct tmn_network tmn_network = {
    .manifest = tmn_manifest,
    .weights = (const char*)weights,
    .inputs = inputs,
    .outputs = outputs,
    .needs = needs,
    .views = views,
    .arguments = arguments,
    .calls = calls,
    .copies = copies,
    .input_count = 1,
    .output_count = 3,
#ifdef LACKING
    .need_count = 1,
#endif
    .view_count = 3,
    .bound_count = 2,
    .argument_count = 6,
    .call_count = 3,
    .copy_count = 2,
    .storage_bytes = 64 + COUNT * sizeof(float),
    .scratch_bytes = COUNT * sizeof(float) + 192,
};
