// What `hotpath --help` teaches, one text a command.
#pragma once

#include <string_view>

namespace hotpath::cli {

struct CommandHelp {
  std::string_view description;  // One line.
  std::string_view footer;       // How to read it, and examples.
};

// Empty texts for a name that is no command.
CommandHelp HelpOf(std::string_view command);

inline constexpr std::string_view kAppDescription =
    "hotpath shows where the CPU time of a machine goes, in every process";

inline constexpr std::string_view kAppFooter = R"(Start here:
  sudo hotpath doctor                 can this host be profiled?
  sudo hotpath record -d 10s          the whole machine, into hotpath.cpu.pb.gz
  hotpath top hotpath.cpu.pb.gz       which functions cost most
  hotpath flame -o cpu.svg hotpath.cpu.pb.gz
  hotpath top                         the same from the running daemon

SOURCE is a profile (.pb.gz, also Go's), a URL (http://host:7878), or nothing: the daemon of
this host. 'hotpath COMMAND --help' explains a command; man hotpath tells it all.)";

}  // namespace hotpath::cli
