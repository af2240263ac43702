/* Tests of pools that contexts share, and of runs that are looked at. */
#define _GNU_SOURCE
#include "runtime.h"

static tvm_mobilenet_context* sharing(tvm_mobilenet_pool* pool, int32_t threads) {
  tvm_mobilenet_options options = {threads, tvm_mobilenet_pool_share, pool};
  tvm_mobilenet_context* context;
  EXPECT(tvm_mobilenet_create(&options, &context) == TVM_MOBILENET_OK);
  return context;
}

static tvm_mobilenet_pool* pool_of(int32_t threads) {
  tvm_mobilenet_pool* pool;
  EXPECT(tvm_mobilenet_pool_create(threads, &pool) == TVM_MOBILENET_OK);
  return pool;
}

static void* run_often(void* context) {
  for (int i = 0; i < 30; i++) run_right(context, i);
  return NULL;
}

/* More contexts than the pool serves at a time; with fewer parts than it has threads, and with more. */
void shared_pool(void) {
  enum { CALLERS = 4 };
  tvm_mobilenet_pool* none;
  EXPECT(tvm_mobilenet_pool_create(0, &none) == TVM_MOBILENET_BAD_THREADS && none == NULL);
  EXPECT(tvm_mobilenet_pool_create(1, NULL) == TVM_MOBILENET_NULL_POINTER);
  tvm_mobilenet_pool_destroy(NULL);
  for (int32_t threads = 1; threads <= 8; threads++) {
    pthread_t callers[CALLERS];
    tvm_mobilenet_context* contexts[CALLERS];
    tvm_mobilenet_pool* pool = pool_of(threads);
    for (int i = 0; i < CALLERS; i++) {
      contexts[i] = sharing(pool, 1 + 2 * i);
      pthread_create(&callers[i], NULL, run_often, contexts[i]);
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    for (int i = 0; i < CALLERS; i++) tvm_mobilenet_destroy(contexts[i]);
    tvm_mobilenet_pool_destroy(pool);
  }
}

static _Atomic int over;

static void* run_until_over(void* context) {
  while (!atomic_load(&over)) run_right(context, 2);
  return NULL;
}

/* Forked while the pool serves another thread, which the child does not have. */
void pool_forks(void) {
  pthread_t thread;
  tvm_mobilenet_pool* pool = pool_of(3);
  tvm_mobilenet_context* ours = sharing(pool, 3);
  tvm_mobilenet_context* theirs = sharing(pool, 3);
  pthread_create(&thread, NULL, run_until_over, theirs);
  for (int i = 0; i < 10; i++) {
    pid_t child = fork();
    if (child == 0) {
      tvm_mobilenet_observation found[3];
      int before = threads_now(); /* an emulator has some of its own */
      for (int j = 0; j < 5; j++) run_right(ours, j);
      run_right(theirs, i);
      struct buffers buffers;
      fill(&buffers, i);
      const void* inputs[] = {buffers.x};
      void* outputs[] = {buffers.y[0], buffers.y[1], buffers.y[2]};
      EXPECT(!tvm_mobilenet_run_observed(ours, inputs, outputs, found, NULL, NULL));
      EXPECT(threads_now() == before + 2);
      tvm_mobilenet_destroy(ours);
      tvm_mobilenet_destroy(theirs);
      tvm_mobilenet_pool_destroy(pool);
      pause_ms(20); /* a thread that was joined is counted for a moment more */
      EXPECT(threads_now() == before);
      _exit(0);
    }
    run_right(ours, i);
    expect_child(child);
  }
  atomic_store(&over, 1);
  pthread_join(thread, NULL);
  tvm_mobilenet_destroy(theirs);
  tvm_mobilenet_destroy(ours);
  tvm_mobilenet_pool_destroy(pool);
}

struct seen {
  int calls;
  float last;
};

static void look(void* user, int32_t call, const tvm_mobilenet_observation* found) {
  struct seen* seen = user;
  EXPECT(call == seen->calls++);
  if (call > 0) seen->last = ((const float*)found->data)[7];
}

/* Calls of fake_network.c: one that writes nothing, one with regions in each other, one with one. */
void observed(void) {
  struct buffers buffers;
  tvm_mobilenet_observation found[3];
  fill(&buffers, 1);
  const void* inputs[] = {buffers.x};
  void* outputs[] = {buffers.y[0], buffers.y[1], buffers.y[2]};
  EXPECT(tvm_mobilenet_calls() == 3);
  for (int32_t threads = 1; threads <= 4; threads++) {
    struct seen seen = {0, 0.0f};
    tvm_mobilenet_context* context = created(threads);
    EXPECT(!tvm_mobilenet_run_observed(context, inputs, outputs, found, look, &seen));
    expect_right(&buffers, 0);
    EXPECT(seen.calls == 3 && seen.last == 17.0f);
    EXPECT(strcmp(found[0].kernel, "checked") == 0 && found[0].regions == 0);
    EXPECT(strcmp(found[2].kernel, "doubled") == 0 && found[2].regions == 1);
    EXPECT(found[2].rank == 2 && found[2].shape[1] == COUNT);
    EXPECT(found[2].type == TVM_MOBILENET_FLOAT32 && found[2].data == buffers.y[0]);
    for (int i = 0; i < 3; i++) {
      EXPECT(found[i].ns >= found[i].regions_ns && found[i].regions_ns >= found[i].longest_ns);
      EXPECT(found[i].work_ns >= found[i].longest_ns && found[i].longest_ns >= 0);
    }
    EXPECT(found[2].longest_ns > 0);
    EXPECT(!tvm_mobilenet_repeat(context, inputs, outputs, 2, 5, found));
    EXPECT(found[0].regions == 5 && strcmp(found[0].kernel, "doubled") == 0);
    for (int32_t i = -1; i <= 3; i += 4) {
      EXPECT(tvm_mobilenet_repeat(context, inputs, outputs, i, 1, found) == TVM_MOBILENET_NO_CALL);
    }
    EXPECT(tvm_mobilenet_repeat(context, inputs, outputs, 0, 0, found) == TVM_MOBILENET_NO_CALL);
    EXPECT(tvm_mobilenet_repeat(context, inputs, outputs, 0, 1, NULL) ==
           TVM_MOBILENET_NULL_POINTER);
    EXPECT(tvm_mobilenet_run_observed(context, inputs, outputs, NULL, NULL, NULL) ==
           TVM_MOBILENET_NULL_POINTER);
    run_right(context, 3);
    tvm_mobilenet_destroy(context);
  }
}
