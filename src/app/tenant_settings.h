// The tenants of the settings file:
//   [tenants.research]
//   keys = ["sha256:9f86d08…", "sk-plain"]   bearer keys, as they are or hashed
//   ids = ["lab"]                            values of the x-tenant-id field
//   weight = 2                               share relative to other tenants; default 1
#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"
#include "server/tenants.h"

namespace tutti::app {

// Errors name the file and the tenant, never a key: another key than the three, a weight out of
// (0, 1000], a hash that is none, a key or an id of two tenants.
Result<std::vector<server::TenantSettings>> read_tenants(const std::filesystem::path& path);

}  // namespace tutti::app
