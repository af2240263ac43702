/* Runs a network on inputs from files and writes its outputs: what a program of a user's looks like.
 *
 * usage: program THREADS HOW INPUT... OUTPUT...; HOW is "own" (memory and threads of the context's
 * own), "given" (memory of the caller's), "parts" (the caller runs the parts, one after another,
 * backwards) or "odd" (inputs and outputs at addresses that are aligned for their type only). Says how many parallel regions "parts" was handed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvm_mobilenet.h"

#define CHECK(call)                                                   \
  do {                                                                \
    tvm_mobilenet_status status = (call);                             \
    if (status) {                                                     \
      fprintf(stderr, "%s: %s\n", #call, tvm_mobilenet_text(status)); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

static void backwards(void* user, int32_t count, tvm_mobilenet_task task, void* data) {
  ++*(int*)user;
  while (count-- > 0) task(data, count);
}

static char* buffer(const tvm_mobilenet_tensor* tensor, int odd) {
  char* memory = aligned_alloc(64, (tensor->bytes + 191) / 64 * 64);
  return memory + (odd ? 8 : 0);
}

int main(int count, char** arguments) {
  int32_t inputs = tvm_mobilenet_inputs(), outputs = tvm_mobilenet_outputs();
  if (count != 3 + inputs + outputs) return 2;
  const char* how = arguments[2];
  int odd = strcmp(how, "odd") == 0, regions = 0;
  const void* in[8];
  void* out[8];
  for (int i = 0; i < inputs; i++) {
    const tvm_mobilenet_tensor* tensor = tvm_mobilenet_input(i);
    char* memory = buffer(tensor, odd);
    FILE* file = fopen(arguments[3 + i], "rb");
    if (file == NULL || fread(memory, 1, tensor->bytes, file) != tensor->bytes) return 3;
    fclose(file);
    in[i] = memory;
  }
  for (int i = 0; i < outputs; i++) out[i] = buffer(tvm_mobilenet_output(i), odd);

  tvm_mobilenet_options options = {0};
  options.threads = atoi(arguments[1]);
  if (strcmp(how, "parts") == 0) {
    options.parallel_for = backwards;
    options.user = &regions;
  }
  tvm_mobilenet_context* context;
  void* memory = NULL;
  if (strcmp(how, "given") == 0) {
    size_t bytes = tvm_mobilenet_context_bytes(&options);
    memory = aligned_alloc(64, bytes);
    memset(memory, 0xa5, bytes);
    CHECK(tvm_mobilenet_create_in(&options, memory, bytes, &context));
  } else {
    CHECK(tvm_mobilenet_create(&options, &context));
  }
  for (int again = 0; again < 3; again++) {
    if (tvm_mobilenet_run(context, in, out)) {
      fprintf(stderr, "run: %s\n", tvm_mobilenet_error(context));
      return 1;
    }
  }
  tvm_mobilenet_destroy(context);
  free(memory);
  for (int i = 0; i < outputs; i++) {
    FILE* file = fopen(arguments[3 + inputs + i], "wb");
    size_t bytes = tvm_mobilenet_output(i)->bytes;
    if (file == NULL || fwrite(out[i], 1, bytes, file) != bytes || fclose(file)) return 3;
  }
  printf("%d\n", regions);
  return 0;
}
