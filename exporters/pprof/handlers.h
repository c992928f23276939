// Go's /debug/pprof/ endpoints over a source of captures.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/profile/capture.h"
#include "daemon/symbolize/symbolizer.h"
#include "exporters/exporter.h"
#include "exporters/pprof/from_window.h"

namespace hotpath::pprof {

// An error in the form that pprof prints to its user's terminal.
HttpResponse PprofError(int status, std::string message);
// kInvalidArgument 400, kNotFound 404, kBusy and kUnavailable 503, everything else 500.
HttpResponse PprofError(const Error& error);

// /debug/pprof/NAME of one profile type, /debug/pprof/profile for cpu: takes a capture and answers
// with its gzip. Blocks for the capture. The source and the symbolizer must outlive it. HEAD takes
// no capture.
class ProfileHandler : public Handler {
 public:
  ProfileHandler(CaptureSource& source, Symbolizer& symbolizer, ProfileContext context,
                 std::string type = "cpu")
      : source_(source),
        symbolizer_(symbolizer),
        context_(std::move(context)),
        type_(std::move(type)) {}
  HttpResponse Handle(const HttpRequest& request) override;

 private:
  CaptureSource& source_;
  Symbolizer& symbolizer_;
  const ProfileContext context_;
  const std::string type_;  // Name of a profile type.
};

// Everything else below /debug/pprof/: the index, cmdline, symbol; Go's other profiles and unknown
// names are 404 in pprof's form. For the prefix "/debug/pprof".
class PprofHandler : public Handler {
 public:
  PprofHandler(Symbolizer& symbolizer, std::vector<std::string> arguments)
      : symbolizer_(symbolizer), arguments_(std::move(arguments)) {}
  HttpResponse Handle(const HttpRequest& request) override;

 private:
  HttpResponse Symbol(const HttpRequest& request);

  Symbolizer& symbolizer_;
  const std::vector<std::string> arguments_;  // Of this program.
};

}  // namespace hotpath::pprof
