#include "app/tenant_settings.h"

#include <fmt/format.h>

#include <set>

#include "app/toml_file.h"

namespace tutti::app {
namespace {

constexpr double kMaxWeight = 1000;
constexpr std::string_view kHashPrefix = "sha256:";
constexpr std::size_t kHashDigits = 64;

Status wrong(const std::string& tenant, std::string_view key, std::string_view wanted) {
  return invalid_argument("tenants", fmt::format("tenants.{}: {} must be {}", tenant, key, wanted));
}

bool is_hash_or_plain(const std::string& key) {
  if (!key.starts_with(kHashPrefix)) return !key.empty();
  return key.size() == kHashPrefix.size() + kHashDigits &&
         key.find_first_not_of("0123456789abcdef", kHashPrefix.size()) == std::string::npos;
}

Status read_strings(const toml::node& node, std::vector<std::string>& out) {
  Status bad = invalid_argument("", "a list of strings");
  const toml::array* list = node.as_array();
  if (list == nullptr) return bad;
  for (const toml::node& element : *list) {
    const auto text = element.value_exact<std::string>();
    if (!text || text->empty()) return bad;
    out.push_back(*text);
  }
  return {};
}

Result<server::TenantSettings> read_tenant(const std::string& name, const toml::table& table) {
  server::TenantSettings tenant;
  tenant.name = name;
  for (const auto& [key, node] : table) {
    if (key == "keys") {
      const bool good = read_strings(node, tenant.keys).ok() &&
                        std::all_of(tenant.keys.begin(), tenant.keys.end(), is_hash_or_plain);
      if (!good) return wrong(name, "keys", "a list of keys, or of \"sha256:\" and 64 hex digits");
    } else if (key == "ids") {
      if (!read_strings(node, tenant.ids).ok()) return wrong(name, "ids", "a list of strings");
    } else if (key == "weight") {
      tenant.weight = node.value<double>().value_or(0);
      if (!(tenant.weight > 0 && tenant.weight <= kMaxWeight)) {
        return wrong(name, "weight", fmt::format("a number in (0, {}]", kMaxWeight));
      }
    } else {
      return wrong(name, std::string(key.str()), "one of keys, ids and weight");
    }
  }
  return tenant;
}

Status check_distinct(const std::vector<server::TenantSettings>& tenants) {
  std::set<std::string> seen;
  for (const server::TenantSettings& tenant : tenants) {
    for (const auto& [kind, values] :
         {std::pair("keys", tenant.keys), std::pair("ids", tenant.ids)}) {
      for (const std::string& value : values) {
        if (seen.insert(std::string(kind) + ":" + value).second) continue;
        return wrong(tenant.name, kind, "its own: one of them stands twice");
      }
    }
  }
  return {};
}

Result<std::vector<server::TenantSettings>> read_table(const toml::node& node) {
  std::vector<server::TenantSettings> tenants;
  const toml::table* table = node.as_table();
  if (table == nullptr) return invalid_argument("tenants", "tenants must be a table");
  for (const auto& [name, inner] : *table) {
    const std::string text(name.str());
    if (!inner.is_table()) return wrong(text, text, "a table");
    TUTTI_ASSIGN_OR_RETURN(server::TenantSettings tenant, read_tenant(text, *inner.as_table()));
    tenants.push_back(std::move(tenant));
  }
  TUTTI_RETURN_IF_ERROR(check_distinct(tenants));
  return tenants;
}

}  // namespace

Result<std::vector<server::TenantSettings>> read_tenants(const std::filesystem::path& path) {
  TUTTI_ASSIGN_OR_RETURN(const toml::table table, read_toml_file(path));
  const toml::node* node = table.get("tenants");
  if (node == nullptr) return std::vector<server::TenantSettings>();
  auto tenants = read_table(*node);
  return tenants.ok() ? std::move(tenants) : tenants.status().with_context(path.string());
}

}  // namespace tutti::app
