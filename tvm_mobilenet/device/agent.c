/* What TVM's RPC server does not offer, in one small library that a session uploads.
 *
 * A server knows the functions of TVM's runtime and those of the modules it loads, nothing
 * else. This module adds what checking and timing a network on another machine takes: reading
 * files of /proc and /sys, stating the number of threads, ending a session that hangs or crashes,
 * calls of a kernel or a network with arguments that take turns, and what agent_native.h does. It is
 * used by one thread, the one that serves the session.
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

/* Arguments stay where they are: who sent them keeps the tensors. */
enum { AXES = 8 };
typedef struct {
  DLTensor tensor;
  int64_t shape[AXES];
} Argument;

typedef struct Turn {
  struct Turn* next;
  int32_t count;
  void** addresses; /* of the arguments' elements */
  Argument arguments[];
} Turn;

/* Sets of arguments, in a ring: calls take them in turns. */
typedef struct {
  Turn *first, *last;
} Turns;

static struct {
  void* kernel;
  Turns* turns;
} in_use;

static int nothing_to_do(void) {
  if (in_use.kernel && in_use.turns && in_use.turns->last) return 0;
  return fail("there is no kernel, or no turn");
}

#ifdef RELAY
#include "agent_function.h"
#else
#include "agent_native.h"
#endif

/* threads(number): how many threads kernels that are opened from now on use. */
FUNCTION(threads) {
  int64_t number;
  UNUSED;
  if (integer(arguments, count, 0, &number)) return -1;
  if (number < 1 || number > 4096) return fail("a number of threads is 1 or more");
  return use_threads(number);
}

/* kernel(file, name) -> its number; 0 if the processor lacks instructions for it. */
FUNCTION(kernel) {
  size_t size;
  char path[512];
  const char* file = count == 2 ? text(&arguments[0], &size) : NULL;
  const char* name = count == 2 ? text(&arguments[1], &size) : NULL;
  void* made;
  (void)self;
  if (file == NULL || name == NULL) return fail("kernel expects a file and a name");
  /* Of this session's folder, where TVM's server keeps uploads. */
  if (snprintf(path, sizeof path, "./%s", file) >= (int)sizeof path)
    return fail("the name is too long");
  if (open_kernel(path, name, &made)) return -1;
  give((int64_t)(intptr_t)made, result);
  return 0;
}

/* turns() -> the number of sets of arguments to be. */
FUNCTION(turns) {
  Turns* made = calloc(1, sizeof *made);
  (void)self, (void)arguments, (void)count;
  if (made == NULL) return fail("out of memory");
  give((int64_t)(intptr_t)made, result);
  return 0;
}

static int fill(Argument* into, const DLTensor* from) {
  if (from == NULL || from->ndim > AXES) return fail("turn expects tensors");
  into->tensor = *from;
  memcpy(into->shape, from->shape, (size_t)from->ndim * sizeof(int64_t));
  into->tensor.shape = into->shape;
  into->tensor.strides = NULL;
  /* Kernels take no offset. */
  into->tensor.data = (char*)from->data + from->byte_offset;
  into->tensor.byte_offset = 0;
  return 0;
}

/* turn(turns, tensors...): one more set of arguments, outputs last. */
FUNCTION(turn) {
  int64_t number;
  Turns* turns;
  Turn* made;
  UNUSED;
  if (integer(arguments, count, 0, &number)) return -1;
  turns = (Turns*)(intptr_t)number;
  made = calloc(1, sizeof *made + (size_t)count * (sizeof *made->arguments + sizeof(void*)));
  if (made == NULL) return fail("out of memory");
  made->count = count - 1;
  made->addresses = (void**)&made->arguments[made->count];
  for (int32_t i = 0; i < made->count; ++i) {
    if (fill(&made->arguments[i], tensor(&arguments[i + 1]))) {
      free(made);
      return -1;
    }
    made->addresses[i] = made->arguments[i].tensor.data;
  }
  if (turns->last == NULL) turns->first = made;
  else turns->last->next = made;
  made->next = turns->first;
  turns->last = made;
  return 0;
}

/* use(kernel, turns): what is called from now on, with what. */
FUNCTION(use) {
  int64_t kernel, turns;
  UNUSED;
  if (integer(arguments, count, 0, &kernel) || integer(arguments, count, 1, &turns)) return -1;
  in_use.kernel = (void*)(intptr_t)kernel;
  in_use.turns = (Turns*)(intptr_t)turns;
  return 0;
}

/* step(): call the kernel with the next set of arguments; after turn() with the first. */
FUNCTION(step) {
  UNUSED;
  if (nothing_to_do()) return -1;
  in_use.turns->last = in_use.turns->last->next;
  return invoke(in_use.kernel, in_use.turns->last);
}

/* rewind(): the next step takes the first set; returns a hash (FNV-1a) of its inputs. */
FUNCTION(rewind) {
  uint64_t hash = 14695981039346656037u;
  const Turn* first;
  (void)self, (void)arguments, (void)count;
  if (nothing_to_do()) return -1;
  first = in_use.turns->first;
  while (in_use.turns->last->next != first) in_use.turns->last = in_use.turns->last->next;
  for (int32_t i = 0; i + 1 < first->count; ++i) {
    const DLTensor* from = &first->arguments[i].tensor;
    size_t words = (size_t)(from->dtype.bits / 8);
    for (int32_t axis = 0; axis < from->ndim; ++axis) words *= (size_t)from->shape[axis];
    words /= sizeof(uint32_t);
    for (size_t k = 0; k < words; ++k)
      hash = (hash ^ ((const uint32_t*)from->data)[k]) * 1099511628211u;
  }
  give((int64_t)hash, result);
  return 0;
}
