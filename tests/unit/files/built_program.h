// Programs compiled while a test runs, in a directory that goes with them.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace hotpath {

// What `command` prints.
inline std::string OutputOf(const std::string& command) {
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  std::array<char, 65536> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), n);
  }
  pclose(pipe);
  return output;
}

inline std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A new empty directory, removed with all it holds.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string name = testing::TempDir() + "/hotpath-XXXXXX";
    path_ = mkdtemp(name.data()) != nullptr ? name : "";
    EXPECT_FALSE(path_.empty());
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Compiles `source` by the language of `name` (".c", ".cc", ".s") with `flags`.
class BuiltProgram {
 public:
  BuiltProgram(const std::string& name, const std::string& source, const std::string& flags) {
    const std::string file = directory_.path() + "/" + name;
    std::ofstream(file) << source;
    path_ = directory_.path() + "/program";
    const std::string compiler = name.ends_with(".cc") ? "g++" : "gcc";
    const std::string command = compiler + " " + file + " -o " + path_ + " " + flags + " 2>&1";
    const std::string output = OutputOf(command);
    EXPECT_TRUE(std::filesystem::exists(path_)) << command << "\n" << output;
  }
  const std::string& path() const { return path_; }
  const std::string& directory() const { return directory_.path(); }

 private:
  ScratchDirectory directory_;
  std::string path_;
};

}  // namespace hotpath
