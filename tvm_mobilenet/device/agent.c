/* What TVM's RPC server does not offer, in one small library that a session uploads.
 *
 * A server knows the functions of TVM's runtime and those of the modules it loads, nothing
 * else. This module adds what checking and timing a network on another machine takes: reading
 * files of /proc and /sys, stating the number of threads, ending a session that hangs or crashes,
 * a kernel's call with arguments that take turns, and for Relax what agent_vm.h does. It is used
 * by one thread, the one that serves the session.
 *
 * agent_relax.h and agent_relay.h say how the two generations of TVM pass arguments: as Values.
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
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define UNUSED (void)self, (void)arguments, (void)count, (void)result

#ifdef RELAY
#include "agent_relay.h"
#else
#include "agent_relax.h"
#endif

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

/* A kernel by itself. Its arguments stay where they are: who sent them keeps the tensors. */
enum { ARGUMENTS = 8, AXES = 8 };
typedef struct Turn {
  struct Turn* next;
  int32_t count;
  Value values[ARGUMENTS];
  DLTensor tensors[ARGUMENTS];
  int64_t shapes[ARGUMENTS][AXES];
} Turn;

static Turn *first_turn, *last_turn;
static void* kernel_function;

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
      snprintf(symbol, sizeof symbol, SYMBOL, name) >= (int)sizeof symbol)
    return fail("the name is too long");
  /* Of this session's folder, where TVM's server keeps uploads; it is in memory already. */
  library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  if (library == NULL) return fail("the library is not loaded");
  kernel_function = dlsym(library, symbol);
  return kernel_function ? 0 : fail("the library has no such function");
}

/* turns(): forget all sets of arguments. */
FUNCTION(turns) {
  UNUSED;
  while (first_turn != NULL) {
    Turn* next = first_turn->next;
    int end = first_turn == last_turn;
    free(first_turn);
    first_turn = end ? NULL : next;
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
    made->values[i] = argument(&made->tensors[i]);
  }
  if (last_turn == NULL) first_turn = made;
  else last_turn->next = made;
  made->next = first_turn;
  last_turn = made;
  return 0;
}

/* step(): call the kernel with the next set of arguments; after turn() with the first. */
FUNCTION(step) {
  UNUSED;
  if (kernel_function == NULL || last_turn == NULL) return fail("there is no kernel, or no turn");
  last_turn = last_turn->next;
  return invoke(kernel_function, last_turn->values, last_turn->count);
}

/* rewind(): the next step takes the first set; returns a hash (FNV-1a) of its inputs. */
FUNCTION(rewind) {
  uint64_t hash = 14695981039346656037u;
  (void)self, (void)arguments, (void)count;
  if (first_turn == NULL) return fail("there is no turn");
  while (last_turn->next != first_turn) last_turn = last_turn->next;
  for (int32_t i = 0; i + 1 < first_turn->count; ++i) {
    const DLTensor* from = &first_turn->tensors[i];
    size_t words = (size_t)(from->dtype.bits / 8);
    for (int32_t axis = 0; axis < from->ndim; ++axis) words *= (size_t)from->shape[axis];
    words /= sizeof(uint32_t);
    for (size_t k = 0; k < words; ++k)
      hash = (hash ^ ((const uint32_t*)from->data)[k]) * 1099511628211u;
  }
  give((int64_t)hash, result);
  return 0;
}

#ifndef RELAY
#include "agent_vm.h"
#endif
