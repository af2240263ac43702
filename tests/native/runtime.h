/* What the tests of the C runtime share. */
#ifndef TEST_RUNTIME_H
#define TEST_RUNTIME_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tvm_mobilenet.h"

enum { COUNT = 1000 };

#define EXPECT(condition)                                                        \
  do {                                                                           \
    if (!(condition)) {                                                          \
      fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);      \
      exit(1);                                                                   \
    }                                                                            \
  } while (0)

struct buffers {
  _Alignas(64) float x[COUNT + 16];
  _Alignas(64) float y[3][COUNT + 16];
};

static inline void fill(struct buffers* buffers, int seed) {
  memset(buffers, 0xff, sizeof *buffers);
  for (int i = 0; i < COUNT + 16; i++) buffers->x[i] = (float)(i + seed);
}

static inline tvm_mobilenet_status run_at(tvm_mobilenet_context* context, struct buffers* buffers, int at) {
  const void* inputs[] = {buffers->x + at};
  void* outputs[] = {buffers->y[0] + at, buffers->y[1] + at, buffers->y[2] + at};
  return tvm_mobilenet_run(context, inputs, outputs);
}

static inline void expect_right(const struct buffers* buffers, int at) {
  for (int i = 0; i < COUNT; i++) {
    EXPECT(buffers->y[0][at + i] == 2.0f * buffers->x[at + i] + 1.0f);
    EXPECT(buffers->y[1][at + i] == buffers->x[at + i]);
    EXPECT(buffers->y[2][at + i] == (i == 0 || i == COUNT - 1 ? 1.0f : 0.0f));
  }
}

static inline void run_right(tvm_mobilenet_context* context, int seed) {
  struct buffers buffers;
  fill(&buffers, seed);
  EXPECT(run_at(context, &buffers, seed % 16) == TVM_MOBILENET_OK);
  expect_right(&buffers, seed % 16);
}

static inline tvm_mobilenet_context* created(int32_t threads) {
  tvm_mobilenet_options options = {.threads = threads};
  tvm_mobilenet_context* context;
  EXPECT(tvm_mobilenet_create(&options, &context) == TVM_MOBILENET_OK);
  return context;
}

static inline void pause_ms(long ms) {
  struct timespec time = {0, ms * 1000000};
  nanosleep(&time, NULL);
}

/* Whether a child process ends well, within a while. */
static inline void expect_child(pid_t child) {
  int status;
  for (int i = 0; i < 2000; i++) {
    if (waitpid(child, &status, WNOHANG) == child) {
      EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      return;
    }
    pause_ms(10);
  }
  kill(child, SIGKILL);
  EXPECT(!"the child came to no end");
}

static inline int threads_now(void) {
  char line[256];
  int found = 0;
  FILE* file = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, file)) sscanf(line, "Threads: %d", &found);
  fclose(file);
  return found;
}

/* inside.c */
void shared_pool(void);
void pool_forks(void);
void observed(void);

#endif
