/* What the C interface says without a context: versions, tensors, texts, the processor. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "network.h"

TMN_PUBLIC const char* tvm_mobilenet_text(tvm_mobilenet_status status) {
  switch (status) {
    case TVM_MOBILENET_OK:
      return "no error";
    case TVM_MOBILENET_NULL_POINTER:
      return "a pointer that must not be NULL is NULL";
    case TVM_MOBILENET_MISALIGNED:
      return "an address is not a multiple of what it must be: of 64 for a context's memory, of its "
             "type's size for an input or output";
    case TVM_MOBILENET_BAD_THREADS:
      return "the number of threads is not between 1 and 1024";
    case TVM_MOBILENET_TOO_SMALL:
      return "the memory is smaller than tvm_mobilenet_context_bytes says";
    case TVM_MOBILENET_NO_MEMORY:
      return "there is not enough memory";
    case TVM_MOBILENET_NO_THREAD:
      return "the system refused to start a thread";
    case TVM_MOBILENET_WRONG_PROCESSOR:
      return "the processor lacks instructions that the network was compiled to use";
    case TVM_MOBILENET_BUSY:
      return "the context runs in another thread; each thread needs a context of its own";
    case TVM_MOBILENET_FAILED:
      return "a kernel failed; tvm_mobilenet_error says more";
    case TVM_MOBILENET_NO_CALL:
      return "the network has no call of this number, or the call is to be made less than once";
  }
  return "unknown status";
}

TMN_PUBLIC int32_t tvm_mobilenet_version(void) { return TVM_MOBILENET_VERSION; }

TMN_PUBLIC const char* tvm_mobilenet_manifest_json(void) { return tmn_network.manifest; }

TMN_PUBLIC int32_t tvm_mobilenet_calls(void) { return tmn_network.call_count; }

TMN_PUBLIC int32_t tvm_mobilenet_inputs(void) { return tmn_network.input_count; }

TMN_PUBLIC int32_t tvm_mobilenet_outputs(void) { return tmn_network.output_count; }

TMN_PUBLIC const tvm_mobilenet_tensor* tvm_mobilenet_input(int32_t number) {
  int there = number >= 0 && number < tmn_network.input_count;
  return there ? &tmn_network.inputs[number] : NULL;
}

TMN_PUBLIC const tvm_mobilenet_tensor* tvm_mobilenet_output(int32_t number) {
  int there = number >= 0 && number < tmn_network.output_count;
  return there ? &tmn_network.outputs[number] : NULL;
}

/* The words of the first line of /proc/cpuinfo that lists features, a blank before and behind each;
 * "" if there is none. A line of an x86 processor has some 2,000 characters. */
static void read_features(char* into, size_t size) {
  into[0] = '\0';
  int file = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  char text[16384];
  size_t got = 0;
  for (ssize_t more; got < sizeof text - 1; got += (size_t)more) {
    more = read(file, text + got, sizeof text - 1 - got);
    if (more <= 0) break;
  }
  close(file);
  text[got] = '\0';
  const char* line = strstr(text, "\nflags");
  if (line && (line = strchr(line, ':'))) {
    snprintf(into, size, "%.*s ", (int)strcspn(line + 1, "\n"), line + 1);
  }
}

static int lists(const char* features, const char* name) {
  size_t length = strlen(name);
  for (const char* at = features; (at = strstr(at, name)); at += length) {
    if (at > features && at[-1] == ' ' && at[length] == ' ') return 1;
  }
  return 0;
}

TMN_PUBLIC tvm_mobilenet_status tvm_mobilenet_check_processor(char* missing, size_t size) {
  char features[8192];
  read_features(features, sizeof features);
  for (int32_t i = 0; i < tmn_network.need_count; i++) {
    const struct tmn_need* need = &tmn_network.needs[i];
    int there = need->word == 0
                    ? lists(features, need->name)
                    : (int)(getauxval(need->word == 1 ? AT_HWCAP : AT_HWCAP2) >> need->bit & 1);
    if (!there) {
      if (missing && size) snprintf(missing, size, "%s", need->name);
      return TVM_MOBILENET_WRONG_PROCESSOR;
    }
  }
  return TVM_MOBILENET_OK;
}
