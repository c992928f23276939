// Real programs under load: how many stacks reach the root, how many frames have a name.
//
// HOTPATH_REAL_SECONDS: how long each is recorded (10 when not set; the figures published with a
// release are those of 20).
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

namespace fs = std::filesystem;

constexpr char kPostgres[] = "/usr/lib/postgresql/15/bin/";
constexpr double kNative = 0.995;  // Compiled to native code: every frame has a rule.

struct Row {
  std::string program;
  int64_t samples;
  double complete, named;
};

class RealPrograms : public testing::Test {
 protected:
  static void TearDownTestSuite() {
    fmt::print("{:<16}{:>9}{:>12}{:>9}\n", "program", "samples", "complete %", "named %");
    for (const Row& row : rows_) {
      fmt::print("{:<16}{:>9}{:>12.2f}{:>9.2f}\n", row.program, row.samples, 100 * row.complete,
                 100 * row.named);
    }
    rows_.clear();
  }

  static double Seconds() {
    const char* seconds = std::getenv("HOTPATH_REAL_SECONDS");
    return seconds != nullptr ? std::strtod(seconds, nullptr) : 10;
  }

  // Records the machine while the load runs, and reports on the processes of `exe` (a glob).
  Recording Profile(const std::string& exe, double min_complete) {
    RecordOptions options;
    options.hz = 299;
    options.seconds = Seconds();
    Recording recording = Record(options);
    const Selector program = OfExe(exe);
    rows_.push_back({exe, Samples(recording.stacks, program),
                     Share(recording.stacks, program, IsComplete),
                     NamedShare(recording.stacks, program)});
    EXPECT_TRUE(
        StacksHold(recording.stacks, program, IsComplete, min_complete, "are complete", 200));
    return recording;
  }

  static ChildProcess::Options Quiet(const std::string& directory = "") {
    ChildProcess::Options options;
    options.discard_output = true;
    options.directory = directory;
    return options;
  }

  // Runs a command to its end; false (and a failed test) when it fails.
  static bool Run(std::vector<std::string> command, const std::string& directory = "") {
    const std::string text = fmt::format("{}", fmt::join(command, " "));
    ChildProcess child(std::move(command), Quiet(directory));
    const int status = child.Wait(std::chrono::seconds(90));
    EXPECT_EQ(status, 0) << text;
    return status == 0;
  }

  // Until `ready` holds, for a server has its own pace.
  static bool WaitFor(const std::function<bool()>& ready, const std::string& what) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!ready()) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << what << " did not start within 30 s";
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  static bool Connects(int family, const sockaddr* address, socklen_t length) {
    const Fd socket_fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return socket_fd && connect(socket_fd.get(), address, length) == 0;
  }

  // A loopback port that nobody has at this moment.
  static int FreePort() {
    const Fd socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (!socket_fd ||
        bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        getsockname(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      return -1;
    }
    return ntohs(address.sin_port);
  }

  static bool Exists(const std::string& program) {
    return std::system(fmt::format("command -v {} >/dev/null", program).c_str()) == 0;
  }

  static inline std::vector<Row> rows_;
  const TemporaryDirectory directory_;
};

TEST_F(RealPrograms, RedisUnderItsBenchmark) {
  if (!Exists("redis-server") || !Exists("redis-benchmark")) GTEST_SKIP() << "no redis";
  const std::string socket_path = directory_.File("redis.sock");
  ChildProcess server({"redis-server", "--port", "0", "--unixsocket", socket_path, "--save", "",
                       "--dir", directory_.path()},
                      Quiet());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_TRUE(WaitFor(
      [&] { return Connects(AF_UNIX, reinterpret_cast<sockaddr*>(&address), sizeof address); },
      "redis-server"));
  ChildProcess load({"redis-benchmark", "-s", socket_path, "-t", "set,get,lpush,lrange_100,zadd",
                     "-n", "300000", "-c", "20", "-P", "4", "-l", "-q"},
                    Quiet());
  Profile("redis-server|redis-check-rdb", kNative);
}

TEST_F(RealPrograms, PostgresUnderPgbench) {
  const passwd* user = getpwnam("postgres");
  if (!fs::exists(std::string(kPostgres) + "postgres") || user == nullptr) {
    GTEST_SKIP() << "no PostgreSQL 15";
  }
  ASSERT_EQ(chown(directory_.path().c_str(), user->pw_uid, user->pw_gid), 0);
  const auto as_postgres = [](std::vector<std::string> command) {
    std::vector<std::string> all = {"setpriv", "--reuid=postgres", "--regid=postgres",
                                    "--clear-groups"};
    command[0] = kPostgres + command[0];
    all.insert(all.end(), command.begin(), command.end());
    return all;
  };
  const std::string data = directory_.File("data");
  const std::string& sockets = directory_.path();
  ASSERT_TRUE(Run(as_postgres({"initdb", "-D", data, "--no-sync", "-A", "trust"}), sockets));
  ChildProcess server(as_postgres({"postgres", "-D", data, "-k", sockets, "-c", "listen_addresses=",
                                   "-c", "fsync=off", "-c", "shared_buffers=64MB"}),
                      Quiet(sockets));
  ASSERT_TRUE(WaitFor(
      [&] {
        ChildProcess probe(as_postgres({"pg_isready", "-h", sockets}), Quiet(sockets));
        return probe.Wait() == 0;
      },
      "postgres"));
  ASSERT_TRUE(
      Run(as_postgres({"pgbench", "-i", "-q", "-s", "2", "-h", sockets, "postgres"}), sockets));
  ChildProcess load(
      as_postgres({"pgbench", "-n", "-c", "4", "-T", "600", "-h", sockets, "postgres"}),
      Quiet(sockets));
  Profile("postgres", kNative);
}

TEST_F(RealPrograms, NginxUnderWrk) {
  if (!Exists("nginx") || !Exists("wrk")) GTEST_SKIP() << "no nginx or wrk";
  const int port = FreePort();
  std::ofstream(directory_.File("index.html")) << std::string(20000, 'x');
  std::ofstream(directory_.File("nginx.conf")) << fmt::format(
      "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/errors; user root;\n"
      "events {{ worker_connections 256; }}\n"
      "http {{ access_log {0}/access; gzip on; gzip_types *; root {0};\n"
      "  client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n"
      "  uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n"
      "  server {{ listen 127.0.0.1:{1}; }} }}\n",
      directory_.path(), port);
  ChildProcess server({"nginx", "-e", directory_.File("errors"), "-p", directory_.path(), "-c",
                       directory_.File("nginx.conf")},
                      Quiet());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  ASSERT_TRUE(WaitFor(
      [&] { return Connects(AF_INET, reinterpret_cast<sockaddr*>(&address), sizeof address); },
      "nginx"));
  ChildProcess load({"wrk", "-t", "1", "-c", "16", "-d", "600s", "-H", "Accept-Encoding: gzip",
                     fmt::format("http://127.0.0.1:{}/index.html", port)},
                    Quiet());
  Profile("nginx", kNative);
}

TEST_F(RealPrograms, PythonOnItsOwn) {
  if (!fs::exists("/usr/bin/python3")) GTEST_SKIP() << "no python3";
  ChildProcess program({"/usr/bin/python3", "-c", R"(
import json, re, hashlib
def work(n):
    rows = [{"id": i, "name": "name%d" % i, "tags": [str(i)] * 5} for i in range(n)]
    text = json.dumps(sorted(rows, key=lambda row: row["name"]))
    return len(re.findall(r'"name\d*7"', text)) + len(json.loads(text)) + hashlib.md5(text.encode()).digest()[0]
while True:
    work(2000)
)"},
                       Quiet());
  Profile("python3*", kNative);
}

TEST_F(RealPrograms, GccCompilingOneFileAfterTheOther) {
  if (!Exists("g++")) GTEST_SKIP() << "no g++";
  std::ofstream(directory_.File("unit.cc")) << R"(
#include <algorithm>
#include <iostream>
#include <map>
#include <regex>
#include <string>
std::map<std::string, int> Count(const std::string& text) {
  std::map<std::string, int> counts;
  const std::regex word("[a-z]+");
  for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i) ++counts[i->str()];
  return counts;
}
int main() { for (const auto& [word, count] : Count("a b c a")) std::cout << word << count; }
)";
  ChildProcess program(
      {"sh", "-c", "while :; do g++ -std=c++20 -O2 -g -c unit.cc -o unit.o || exit 1; done"},
      Quiet(directory_.path()));
  Profile("cc1plus", kNative);
}

TEST_F(RealPrograms, GitPackingAndReadingARepository) {
  if (!Exists("git")) GTEST_SKIP() << "no git";
  const std::string repository = directory_.File("repository");
  ASSERT_TRUE(Run({"git", "init", "-q", repository}));
  {
    std::ofstream commits(directory_.File("commits"));
    for (int commit = 0; commit < 400; ++commit) {
      std::string text;
      for (int line = 0; line < 300; ++line) {
        text += fmt::format("line {} of commit {}\n", line, line % 40 == commit % 40 ? commit : 0);
      }
      commits << fmt::format(
          "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata 2\nc\nM 100644 "
          "inline file{}.txt\ndata {}\n{}\n",
          1'700'000'000 + commit, commit % 7, text.size(), text);
    }
  }
  ASSERT_TRUE(Run({"sh", "-c", "git -C \"$1\" fast-import --quiet <\"$2\"", "import", repository,
                   directory_.File("commits")}));
  ChildProcess program({"sh", "-c",
                        "while :; do git log -p --stat main >/dev/null && git repack -q -a -d -f "
                        "--depth=50 && git gc -q || exit 1; done"},
                       Quiet(repository));
  Profile("git", kNative);
}

// Code made at run time has no unwind tables: it is followed by its frame pointers, and V8's stubs
// and builtins keep none at their edges. V8 may not inline: whether hotScript keeps a frame of its
// own inside turn() would be its choice of the day.
TEST_F(RealPrograms, NodeWithAPerfMap) {
  if (!Exists("node")) GTEST_SKIP() << "no node";
  ChildProcess program({"node", "--perf-basic-prof", "--interpreted-frames-native-stack",
                        "--no-turbo-inlining", "-e", R"(
function hotScript(n) {
  const rows = [];
  for (let i = 0; i < n; ++i) rows.push({id: i, name: 'name' + (i * 7919) % n});
  rows.sort((a, b) => a.name < b.name ? -1 : 1);
  let sum = 0;
  for (const row of rows) sum += row.name.length * row.id % 7;
  return sum;
}
function turn() { const end = Date.now() + 50; while (Date.now() < end) hotScript(3000); setImmediate(turn); }
turn();
)"},
                       Quiet(directory_.path()));
  const Recording recording = Profile("node", 0.95);
  EXPECT_GT(Share(recording.stacks, OfExe("node"), WithFrame("*hotScript*")), 0.5);
  fs::remove(fmt::format("/tmp/perf-{}.map", program.pid()));
}

TEST_F(RealPrograms, JavaWithFramePointersAndAPerfMap) {
  if (!Exists("java") || !Exists("javac") || !Exists("jcmd")) GTEST_SKIP() << "no JDK";
  std::ofstream(directory_.File("Hot.java")) << R"(
import java.util.*;
public class Hot {
  static long hotMethod(int n) {
    Map<String, Integer> counts = new TreeMap<>();
    for (int i = 0; i < n; ++i) counts.merge("key" + i % 997, i, Integer::sum);
    long sum = 0;
    for (int value : counts.values()) sum += value;
    return sum;
  }
  public static void main(String[] args) { long sum = 0; while (true) sum += hotMethod(20000); }
}
)";
  ASSERT_TRUE(Run({"javac", "Hot.java"}, directory_.path()));
  ChildProcess program(
      {"java", "-XX:+PreserveFramePointer", "-XX:TieredStopAtLevel=1", "-cp", ".", "Hot"},
      Quiet(directory_.path()));
  const std::string map = fmt::format("/tmp/perf-{}.map", program.pid());
  // The virtual machine writes its map when asked; asked again until the hot method is in it.
  ASSERT_TRUE(WaitFor(
      [&] {
        ChildProcess asking({"jcmd", std::to_string(program.pid()), "Compiler.perfmap"}, Quiet());
        asking.Wait();
        return std::system(fmt::format("grep -q hotMethod {} 2>/dev/null", map).c_str()) == 0;
      },
      "the perf map"));
  const Recording recording = Profile("java", 0.9);
  EXPECT_GT(Share(recording.stacks, OfExe("java"), WithFrame("*hotMethod*")), 0.3);
  fs::remove(map);
}

}  // namespace
}  // namespace hotpath::kernel_tests
