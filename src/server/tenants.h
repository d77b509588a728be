// Who a request is counted to: the bearer key that was sent, else the x-tenant-id field, else the
// common tenant. Keys and ids are known by their hash only, from here on.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"

namespace tutti::server {

struct Tenant {
  std::string id;  // the same for all requests of a tenant, different between tenants; "": common
  double weight = 1;             // share of the engine, relative to other tenants
  std::string label = "common";  // for the log: the name of the settings, or a short hash
};

// A tenant of the settings file: [tenants.NAME].
struct TenantSettings {
  std::string name;
  std::vector<std::string> keys;  // bearer keys as they are, or "sha256:" and 64 hex digits
  std::vector<std::string> ids;   // values of x-tenant-id; of no use without a key if there are any
  double weight = 1;              // > 0

  bool operator==(const TenantSettings&) const = default;
};

// Thread safety: constant after construction.
class TenantTable {
 public:
  TenantTable() = default;
  explicit TenantTable(const std::vector<TenantSettings>& settings);

  // From the Authorization and x-tenant-id fields as they came; empty ones count as absent. A key
  // or an id that the settings do not have is a tenant of its own, with weight 1. Errors:
  // kInvalidArgument for an id of a tenant that has keys when no key was sent.
  Result<Tenant> find(const std::string& authorization, const std::string& tenant_id) const;

 private:
  Tenant known_or_own(const std::string& id, const char* kind) const;

  std::unordered_map<std::string, Tenant> by_id_;  // "key:<sha256>" or "id:<sha256>"
  std::unordered_set<std::string> guarded_;        // ids, likewise, of tenants that have keys
};

}  // namespace tutti::server
