// The client's entry: everything is in RunCli but what needs the daemon's own rooms.
#include "daemon/files/file_worker.h"
#include "exporters/cli/cli.h"
#include "exporters/cli/probes.h"
#include "exporters/cli/record.h"

int main(int argc, char** argv) {
  hotpath::FileWorker::RunChildIfAsked(argc, argv);
  hotpath::cli::CliContext context = hotpath::cli::StandardContext();
  context.record = hotpath::cli::Record;
  context.probes = hotpath::cli::FindProbes;
  return hotpath::cli::RunCli(argc, argv, context);
}
