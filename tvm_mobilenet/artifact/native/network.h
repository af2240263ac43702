/* What the compiler writes of a network, and what the sources of the C interface share.
 *
 * A network is a table of calls over tensors. `network.c`, which defines `tmn_network`, is generated;
 * everything else here is the same for every network.
 */
#ifndef TMN_NETWORK_H
#define TMN_NETWORK_H

#include "tvm_mobilenet.h"

/* What a program may call; everything else is hidden (-fvisibility=hidden). */
#define TMN_PUBLIC __attribute__((visibility("default")))

/* TVM's calling convention of kernels: TVMFFIAny, DLTensor (tvm/ffi/c_api.h, dlpack.h). */
enum { TMN_INTEGER = 1, TMN_TENSOR = 7, TMN_CPU = 1 };

struct tmn_any {
  int32_t type;
  uint32_t padding;
  union {
    int64_t integer;
    void* pointer;
  } value;
};

struct tmn_dltensor {
  void* data;
  int32_t device_type, device_id;
  int32_t rank;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t offset;
};

typedef int (*tmn_kernel)(void* self, const struct tmn_any* arguments, int32_t count,
                          struct tmn_any* result);

/* Where a tensor's memory is. */
enum tmn_place {
  TMN_INPUT,   /* the caller's, number `at` */
  TMN_OUTPUT,  /* the caller's, number `at` */
  TMN_STORAGE, /* `at` bytes into the activations */
  TMN_WEIGHTS  /* `at` bytes into the weights */
};

struct tmn_buffer {
  enum tmn_place place;
  uint64_t at;
};

struct tmn_view {
  struct tmn_buffer buffer;
  const int64_t* shape;
  int32_t rank;
  uint8_t code, bits;
};

struct tmn_argument {
  int32_t view; /* its number; -1 for an integer */
  int64_t integer;
};

struct tmn_call {
  tmn_kernel kernel;
  const char* name;
  int32_t first; /* of its arguments */
  int32_t count;
};

/* An output that no kernel writes into the caller's memory: an input, a constant, the same twice. */
struct tmn_copy {
  int32_t output;
  struct tmn_buffer source;
};

/* A CPU feature as the kernel names it, and its bit of AT_HWCAP (1) or AT_HWCAP2 (2), or 0 where
 * /proc/cpuinfo tells. */
struct tmn_need {
  const char* name;
  int32_t word, bit;
};

struct tmn_network {
  const char* manifest;
  const char* weights;
  const tvm_mobilenet_tensor* inputs;
  const tvm_mobilenet_tensor* outputs;
  const struct tmn_need* needs;
  const struct tmn_view* views; /* those of inputs and outputs first */
  const struct tmn_argument* arguments;
  const struct tmn_call* calls;
  const struct tmn_copy* copies;
  int32_t input_count, output_count, need_count;
  int32_t view_count, bound_count, argument_count, call_count, copy_count;
  size_t storage_bytes; /* of all activations */
  size_t scratch_bytes; /* that one part of a kernel takes at most */
};

extern const struct tmn_network tmn_network;

/* Sizes and places are multiples of a cache line. */
static inline size_t tmn_aligned(size_t bytes) {
  return (bytes + TVM_MOBILENET_ALIGNMENT - 1) / TVM_MOBILENET_ALIGNMENT * TVM_MOBILENET_ALIGNMENT;
}

#endif
