/* Tests of the C runtime over fake_network.c; under a sanitizer if it is compiled with one.
 *
 * Every function is a test by its name: `runtime NAME`.
 */
#define _GNU_SOURCE
#include "runtime.h"

static void right(void) {
  for (int32_t threads = 1; threads <= 8; threads++) {
    tvm_mobilenet_context* context = created(threads);
    for (int i = 0; i < 50; i++) {
      run_right(context, i);
      if (i % 10 == 0) pause_ms(2); /* workers sleep, and have to be woken */
    }
    tvm_mobilenet_destroy(context);
  }
}

static void* many_contexts(void* data) {
  for (int i = 0; i < 20; i++) {
    int32_t threads = 1 + ((int)(intptr_t)data + i) % 8;
    tvm_mobilenet_context* context = created(threads);
    for (int j = 0; j < 5; j++) run_right(context, i + j);
    tvm_mobilenet_destroy(context);
  }
  return NULL;
}

static void side_by_side(void) {
  pthread_t threads[4];
  for (intptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, many_contexts, (void*)i);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

/* A context handed from thread to thread, one after another. */
static void* run_shared(void* context) {
  run_right(context, 3);
  return NULL;
}

static void handed_on(void) {
  tvm_mobilenet_context* context = created(3);
  for (int i = 0; i < 20; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, run_shared, context);
    pthread_join(thread, NULL);
  }
  tvm_mobilenet_destroy(context);
}

struct nosy {
  tvm_mobilenet_context* other;
  tvm_mobilenet_context* own;
  int calls;
};

/* Runs another context, and tries to run its own, between the parts. */
static void nosy_for(void* user, int32_t count, tvm_mobilenet_task task, void* data) {
  struct nosy* nosy = user;
  struct buffers buffers;
  nosy->calls++;
  fill(&buffers, 1);
  EXPECT(run_at(nosy->own, &buffers, 0) == TVM_MOBILENET_BUSY);
  for (int32_t i = count; i-- > 0;) {
    run_right(nosy->other, i);
    task(data, i);
  }
}

static void callers_threads(void) {
  struct nosy nosy = {.other = created(2)};
  tvm_mobilenet_options options = {.threads = 5, .parallel_for = nosy_for, .user = &nosy};
  EXPECT(tvm_mobilenet_create(&options, &nosy.own) == TVM_MOBILENET_OK);
  for (int i = 0; i < 10; i++) run_right(nosy.own, i);
  EXPECT(nosy.calls == 20);
  tvm_mobilenet_destroy(nosy.own);
  tvm_mobilenet_destroy(nosy.other);
}

static void callers_memory(void) {
  for (int32_t threads = 1; threads <= 4; threads++) {
    tvm_mobilenet_options options = {.threads = threads};
    size_t bytes = tvm_mobilenet_context_bytes(&options);
    char* memory = aligned_alloc(64, bytes + 64);
    tvm_mobilenet_context* context;
    memset(memory, 0xa5, bytes + 64);
    EXPECT(tvm_mobilenet_create_in(&options, NULL, bytes, &context) == TVM_MOBILENET_NULL_POINTER);
    EXPECT(tvm_mobilenet_create_in(&options, memory + 8, bytes, &context) ==
           TVM_MOBILENET_MISALIGNED);
    EXPECT(tvm_mobilenet_create_in(&options, memory, bytes - 1, &context) ==
           TVM_MOBILENET_TOO_SMALL);
    EXPECT(context == NULL);
    EXPECT(tvm_mobilenet_create_in(&options, memory, bytes, &context) == TVM_MOBILENET_OK);
    run_right(context, 5);
    tvm_mobilenet_destroy(context);
    for (int i = 0; i < 64; i++) EXPECT((unsigned char)memory[bytes + (size_t)i] == 0xa5);
    free(memory);
  }
}

static void bad_input(void) {
  tvm_mobilenet_options options = {.threads = 0};
  tvm_mobilenet_context* context = created(2);
  tvm_mobilenet_context* none;
  EXPECT(tvm_mobilenet_create(&options, &none) == TVM_MOBILENET_BAD_THREADS && none == NULL);
  EXPECT(tvm_mobilenet_context_bytes(&options) == 0);
  options.threads = TVM_MOBILENET_MOST_THREADS + 1;
  EXPECT(tvm_mobilenet_create(&options, &none) == TVM_MOBILENET_BAD_THREADS);
  EXPECT(tvm_mobilenet_create(NULL, &none) == TVM_MOBILENET_NULL_POINTER);
  options.threads = 1;
  EXPECT(tvm_mobilenet_create(&options, NULL) == TVM_MOBILENET_NULL_POINTER);
  EXPECT(tvm_mobilenet_context_bytes(NULL) == 0);

  struct buffers buffers;
  fill(&buffers, 0);
  const void* inputs[] = {NULL};
  void* outputs[] = {buffers.y[0], buffers.y[1], buffers.y[2]};
  EXPECT(tvm_mobilenet_run(NULL, inputs, outputs) == TVM_MOBILENET_NULL_POINTER);
  EXPECT(tvm_mobilenet_run(context, NULL, outputs) == TVM_MOBILENET_NULL_POINTER);
  EXPECT(tvm_mobilenet_run(context, inputs, NULL) == TVM_MOBILENET_NULL_POINTER);
  EXPECT(tvm_mobilenet_run(context, inputs, outputs) == TVM_MOBILENET_NULL_POINTER);
  inputs[0] = (char*)buffers.x + 2;
  EXPECT(tvm_mobilenet_run(context, inputs, outputs) == TVM_MOBILENET_MISALIGNED);
  inputs[0] = buffers.x;
  outputs[1] = NULL;
  EXPECT(tvm_mobilenet_run(context, inputs, outputs) == TVM_MOBILENET_NULL_POINTER);
  run_right(context, 1); /* as if nothing had been */
  tvm_mobilenet_destroy(context);
  tvm_mobilenet_destroy(NULL);
  EXPECT(tvm_mobilenet_input(-1) == NULL && tvm_mobilenet_input(1) == NULL);
  EXPECT(tvm_mobilenet_output(3) == NULL && tvm_mobilenet_output(2) != NULL);
  for (int i = -1; i < 20; i++) {
    EXPECT(strlen(tvm_mobilenet_text((tvm_mobilenet_status)i)) > 5);
  }
}

static void failures(void) {
  struct buffers buffers;
  tvm_mobilenet_context* context = created(3);
  fill(&buffers, -5);
  EXPECT(run_at(context, &buffers, 0) == TVM_MOBILENET_FAILED);
  EXPECT(strcmp(tvm_mobilenet_error(context),
                "ValueError: the first element is negative") == 0);
  run_right(context, 1);
  EXPECT(strcmp(tvm_mobilenet_error(context), "") == 0);
  fill(&buffers, 98); /* wants more scratch than was planned, in every part */
  EXPECT(run_at(context, &buffers, 0) == TVM_MOBILENET_FAILED);
  EXPECT(strcmp(tvm_mobilenet_error(context), "kernel nested failed") == 0);
  run_right(context, 1);
  tvm_mobilenet_destroy(context);
}

static _Atomic int stop;

static void* run_until_stopped(void* context) {
  while (!atomic_load(&stop)) run_right(context, 2);
  return NULL;
}

static void forks(void) {
  tvm_mobilenet_context* idle = created(3);
  tvm_mobilenet_context* used = created(3);
  tvm_mobilenet_context* running = created(2);
  pthread_t thread;
  run_right(used, 1);
  pthread_create(&thread, NULL, run_until_stopped, running);
  for (int i = 0; i < 20; i++) {
    pid_t child = fork();
    if (child == 0) {
      run_right(used, i);
      run_right(used, i);
      run_right(running, i); /* which was under way */
      tvm_mobilenet_destroy(idle);
      tvm_mobilenet_destroy(used);
      tvm_mobilenet_destroy(running);
      _exit(0);
    }
    run_right(used, i);
    expect_child(child);
  }
  atomic_store(&stop, 1);
  pthread_join(thread, NULL);
  tvm_mobilenet_destroy(running);
  tvm_mobilenet_destroy(used);
  tvm_mobilenet_destroy(idle);
}

static void nothing_stays(void) {
  tvm_mobilenet_destroy(created(2));
  pause_ms(20); /* a thread that was joined is counted for a moment more */
  int before = threads_now();
  for (int i = 0; i < 1000; i++) {
    tvm_mobilenet_context* context = created(1 + i % 4);
    if (i % 3) run_right(context, i % 16);
    tvm_mobilenet_destroy(context);
  }
  pause_ms(20);
  EXPECT(threads_now() == before);
}

/* Processor time that workers take once they have nothing to do. */
static void sleep_soon(void) {
  struct timespec begun, ended;
  tvm_mobilenet_context* context = created(4);
  run_right(context, 1);
  pause_ms(20);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begun);
  pause_ms(200);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
  EXPECT((ended.tv_sec - begun.tv_sec) * 1000000000L + ended.tv_nsec - begun.tv_nsec < 5000000);
  tvm_mobilenet_destroy(context);
}

static void processor(void) {
  char missing[64] = "";
  tvm_mobilenet_options options = {.threads = 2};
  tvm_mobilenet_context* context;
#ifdef LACKING
  EXPECT(tvm_mobilenet_check_processor(missing, sizeof missing) == TVM_MOBILENET_WRONG_PROCESSOR);
  EXPECT(strcmp(missing, "no_processor_has_this") == 0);
  EXPECT(tvm_mobilenet_check_processor(NULL, 0) == TVM_MOBILENET_WRONG_PROCESSOR);
  EXPECT(tvm_mobilenet_create(&options, &context) == TVM_MOBILENET_WRONG_PROCESSOR);
#else
  EXPECT(tvm_mobilenet_check_processor(missing, sizeof missing) == TVM_MOBILENET_OK);
  EXPECT(tvm_mobilenet_create(&options, &context) == TVM_MOBILENET_OK);
  tvm_mobilenet_destroy(context);
#endif
}

static void leave_well(int number) {
  (void)number;
  _exit(0);
}

static void fault_beside(void* data, int32_t number) {
  if (number == 0) sleep(30); /* or the caller would do the other part too */
  *(volatile int*)data = 1;
}

/* What goes wrong in a thread of the pool comes to the program's handler. */
static void faults(void) {
  tvm_mobilenet_pool* pool;
  signal(SIGSEGV, leave_well);
  EXPECT(tvm_mobilenet_pool_create(2, &pool) == TVM_MOBILENET_OK);
  tvm_mobilenet_pool_share(pool, 2, fault_beside, NULL);
  EXPECT(!"nothing went wrong");
}

#define TEST(name) {#name, name}

int main(int count, char** arguments) {
  static const struct {
    const char* name;
    void (*run)(void);
  } tests[] = {TEST(right),          TEST(side_by_side),  TEST(handed_on), TEST(callers_threads),
               TEST(callers_memory), TEST(bad_input),     TEST(failures),  TEST(forks),
               TEST(nothing_stays),  TEST(sleep_soon),    TEST(processor),
               TEST(shared_pool),    TEST(pool_forks),    TEST(observed),
               TEST(faults)};
  for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
    if (count == 2 && strcmp(arguments[1], tests[i].name) == 0) {
      tests[i].run();
      return 0;
    }
  }
  fprintf(stderr, "no such test\n");
  return 2;
}
