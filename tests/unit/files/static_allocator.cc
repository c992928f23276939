// A static program with an allocator and operator new inside: place_probes_test reads it.
#include <cstdlib>
#include <string>

int main(int argc, char**) {
  const std::string text(static_cast<size_t>(argc) * 100, 'a');
  void* block = std::malloc(text.size());
  std::free(block);
  return block == nullptr ? 1 : 0;
}
