#include <stdio.h>
#include <stdlib.h>

#include "net.h"

static void check(net_status status) {
  if (status == NET_OK) return;
  fprintf(stderr, "%s\n", net_text(status));
  exit(1);
}

int main(int count, char** arguments) {
  const net_tensor *image = net_input(0), *scores = net_output(0);
  float* x = malloc(image->bytes);
  float* y = malloc(scores->bytes);
  FILE* file = count == 2 ? fopen(arguments[1], "rb") : NULL;
  if (!x || !y || !file || fread(x, 1, image->bytes, file) != image->bytes) {
    fprintf(stderr, "usage: classify IMAGE, a file of %zu bytes\n", image->bytes);
    return 2;
  }
  fclose(file);

  net_options options = {.threads = 2};
  net_context* context;
  const void* inputs[] = {x};
  void* outputs[] = {y};
  check(net_create(&options, &context));
  check(net_run(context, inputs, outputs));
  net_destroy(context);

  size_t best = 0, classes = scores->bytes / sizeof *y;
  for (size_t i = 1; i < classes; i++) {
    if (y[i] > y[best]) best = i;
  }
  printf("%zu %.9g\n", best, y[best]);
  free(x);
  free(y);
  return 0;
}
