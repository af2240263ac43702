#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <vector>

#include "net.h"

static void check(net_status status) {
  if (status != NET_OK) throw std::runtime_error(net_text(status));
}

class Network {
 public:
  explicit Network(int threads) {
    net_options options = {};
    options.threads = threads;
    net_context* made;
    check(net_create(&options, &made));
    context_.reset(made);
  }

  std::vector<float> operator()(const std::vector<float>& x) {
    std::vector<float> y(net_output(0)->bytes / sizeof(float));
    const void* inputs[] = {x.data()};
    void* outputs[] = {y.data()};
    check(net_run(context_.get(), inputs, outputs));
    return y;
  }

 private:
  struct Destroy {
    void operator()(net_context* context) const { net_destroy(context); }
  };
  std::unique_ptr<net_context, Destroy> context_;
};

int main(int count, char** arguments) try {
  if (count != 2) throw std::runtime_error("usage: classify IMAGE");
  std::vector<float> x(net_input(0)->bytes / sizeof(float));
  std::ifstream file(arguments[1], std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(x.data()), net_input(0)->bytes)) {
    throw std::runtime_error("the file is not there, or too short");
  }
  const std::vector<float> y = Network(2)(x);
  const auto best = std::max_element(y.begin(), y.end());
  std::printf("%td %.9g\n", best - y.begin(), *best);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
