// From serve's flags to the server's options, and what of them can change while it runs.
#pragma once

#include "app/options.h"
#include "base/result.h"
#include "server/server.h"

namespace tutti::app {

// Errors name the flag.
Result<server::ServerOptions> server_options(const ServeOptions& options);

// Sets the log's level and format.
void apply_log_settings(const ServeOptions& options);

// Reads flags, environment and settings file again and applies what can change while the server
// runs; what cannot is named in a warning. When something is wrong with them, nothing changes and
// the log says why. `current` is what holds at the time.
void reload_settings(server::Server& server, ServeOptions& current);

}  // namespace tutti::app
