#include "server/tenants.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <array>
#include <cctype>
#include <string_view>

namespace tutti::server {
namespace {

constexpr std::string_view kHashPrefix = "sha256:";

std::string sha256_hex(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

// The key of "Bearer <key>", in whatever case (RFC 9110, 11.1); empty for another scheme.
std::string_view bearer_key(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const auto c = static_cast<unsigned char>(authorization[i]);
    if (std::tolower(c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  const std::size_t begin = authorization.find_first_not_of(' ');
  return begin == std::string_view::npos ? std::string_view() : authorization.substr(begin);
}

}  // namespace

TenantTable::TenantTable(const std::vector<TenantSettings>& settings) {
  for (const TenantSettings& tenant : settings) {
    const Tenant known{"name:" + tenant.name, tenant.weight, tenant.name};
    for (const std::string& key : tenant.keys) {
      const bool is_hash = key.starts_with(kHashPrefix);
      by_id_["key:" + (is_hash ? key.substr(kHashPrefix.size()) : sha256_hex(key))] = known;
    }
    for (const std::string& id : tenant.ids) {
      const std::string hashed = "id:" + sha256_hex(id);
      by_id_[hashed] = known;
      if (!tenant.keys.empty()) guarded_.insert(hashed);
    }
  }
}

Tenant TenantTable::known_or_own(const std::string& id, const char* kind) const {
  constexpr std::size_t kShownDigits = 12;
  const auto found = by_id_.find(id);
  if (found != by_id_.end()) return found->second;
  return {id, 1, fmt::format("{}-{}", kind, id.substr(id.find(':') + 1, kShownDigits))};
}

Result<Tenant> TenantTable::find(const std::string& authorization,
                                 const std::string& tenant_id) const {
  const std::string_view key = bearer_key(authorization);
  if (!key.empty()) return known_or_own("key:" + sha256_hex(key), "key");
  if (tenant_id.empty()) return Tenant();
  const std::string id = "id:" + sha256_hex(tenant_id);
  if (guarded_.contains(id)) {
    return invalid_argument("x-tenant-id",
                            "the tenant of this x-tenant-id is known by its key: send the key as "
                            "`Authorization: Bearer KEY`");
  }
  return known_or_own(id, "id");
}

}  // namespace tutti::server
