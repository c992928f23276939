// Calls one libc or libstdc++ function between two traps, so that a tracer can step through it.
#include <regex.h>
#include <unistd.h>

#include <cctype>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

int CompareInts(const void* a, const void* b) {
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

[[gnu::noinline]] void Begin() { __asm__ volatile("int3"); }
[[gnu::noinline]] void End() { __asm__ volatile("int3"); }

[[gnu::noinline]] int Throw(int depth) {
  if (depth == 0) throw std::runtime_error("deep");
  return Throw(depth - 1) + 1;
}

// Realigns its stack: its CFA is found through memory.
[[gnu::noinline]] double Overaligned(double seed) {
  alignas(64) volatile double values[16];
  for (double& value : const_cast<double(&)[16]>(values))
    value = seed += std::strtod("1.5", nullptr);
  return values[3];
}

volatile int sink;

void Run(const std::string& what) {
  if (what == "qsort") {
    int numbers[64];
    for (int& number : numbers) number = std::rand() % 1000;
    std::qsort(numbers, 64, sizeof(int), CompareInts);
  } else if (what == "printf") {
    char text[256];
    sink = std::snprintf(text, sizeof(text), "%s %d %g %-10.3f|%#x", "words", 42, 1e10, 2.5, 255);
  } else if (what == "malloc") {
    void* blocks[16];
    for (size_t i = 0; i < 16; i++) blocks[i] = std::malloc(24u << i);
    for (void* block : blocks) std::free(block);
  } else if (what == "strtod") {
    sink = static_cast<int>(std::strtod("3.14159265358979323846e-10", nullptr) * 1e12);
  } else if (what == "regex") {
    regex_t pattern;
    if (regcomp(&pattern, "^a(b|c)*d+$", REG_EXTENDED) == 0) {
      sink = regexec(&pattern, "abcbcbcddd", 0, nullptr, 0);
      regfree(&pattern);
    }
  } else if (what == "iostream") {
    std::ostringstream out;
    out << "number " << 42 << ' ' << 2.5 << std::string(30, 'x');
    sink = static_cast<int>(out.str().size());
  } else if (what == "map") {
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 12; i++) map["key" + std::to_string(i * 37 % 12)].push_back(i);
    map.erase("key3");
    sink = static_cast<int>(map.size());
  } else if (what == "exception") {
    try {
      sink = Throw(6);
    } catch (const std::exception& error) {
      sink = static_cast<int>(std::strlen(error.what()));
    }
  } else if (what == "overaligned") {
    sink = static_cast<int>(Overaligned(1));
  } else if (what == "binding") {
    sink = getppid();  // Bound here, if it was not called before: through the dynamic linker.
  } else if (what == "time") {
    const std::time_t now = 1'700'000'000;
    char text[64];
    std::tm parts{};
    sink = static_cast<int>(std::strftime(text, sizeof(text), "%c", gmtime_r(&now, &parts)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "qsort";
  if (argc > 2) Run(what);  // Resolved and warmed up: the traced run steps through no linker code.
  Begin();
  Run(what);
  End();
  return 0;
}
