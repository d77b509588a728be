#include "server/tenants.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

Tenant find(const TenantTable& table, const std::string& authorization, const std::string& id) {
  Result<Tenant> found = table.find(authorization, id);
  EXPECT_TRUE(found.ok()) << found.status().message();
  return found.ok() ? *found : Tenant{};
}

TEST(Tenants, TheKeyComesBeforeTheHeaderAndThatBeforeTheCommonOne) {
  const TenantTable table;
  EXPECT_EQ(find(table, "", "").id, "");
  EXPECT_EQ(find(table, "Basic abc", "").id, "");
  EXPECT_EQ(find(table, "Bearer ", "").id, "");
  const Tenant by_key = find(table, "Bearer sk-1", "a");
  EXPECT_EQ(by_key.id, find(table, "bearer  sk-1", "").id);
  EXPECT_EQ(by_key.id, find(table, "BEARER sk-1", "b").id);
  EXPECT_NE(by_key.id, find(table, "Bearer sk-2", "").id);
  const Tenant by_header = find(table, "", "sk-1");
  EXPECT_NE(by_header.id, by_key.id) << "a header cannot take a key's place";
  EXPECT_EQ(by_header.weight, 1);
}

TEST(Tenants, KeysAreNeverShown) {
  const Tenant tenant = find(TenantTable(), "Bearer sk-very-secret", "");
  EXPECT_EQ(tenant.id.find("sk-very-secret"), std::string::npos);
  EXPECT_EQ(tenant.label.find("secret"), std::string::npos);
  EXPECT_EQ(tenant.label.size(), 16u) << tenant.label;
}

TEST(Tenants, TheSettingsGiveNamesAndWeights) {
  const TenantTable table(
      {{"research", {"sk-plain", "sk-other"}, {}, 2.5}, {"web", {}, {"www", "web"}, 0.5}});
  const Tenant plain = find(table, "Bearer sk-plain", "");
  EXPECT_EQ(plain.label, "research");
  EXPECT_EQ(plain.weight, 2.5);
  EXPECT_EQ(plain.id, find(table, "Bearer sk-other", "").id);
  EXPECT_EQ(find(table, "", "web").id, find(table, "", "www").id);
  EXPECT_EQ(find(table, "", "www").weight, 0.5);
  EXPECT_NE(find(table, "", "research").id, plain.id) << "its name is not one of its ids";
}

TEST(Tenants, AnIdOfATenantThatHasKeysIsClaimedWithAKeyOnly) {
  const TenantTable table({{"research", {"sk-plain"}, {"lab"}, 2.5}, {"web", {}, {"www"}, 2}});
  for (const char* authorization : {"", "Bearer ", "Basic abc"}) {
    const Result<Tenant> found = table.find(authorization, "lab");
    ASSERT_FALSE(found.ok()) << authorization;
    EXPECT_EQ(found.status().field(), "x-tenant-id");
    EXPECT_EQ(found.status().message().find("lab"), std::string::npos) << "ids are never shown";
  }
  EXPECT_EQ(find(table, "Bearer sk-plain", "lab").label, "research");
  EXPECT_NE(find(table, "Bearer sk-foreign", "lab").label, "research") << "the key is what counts";
  EXPECT_EQ(find(table, "", "www").label, "web");
}

TEST(Tenants, AKeyMayBeGivenByItsHash) {
  // printf abc | sha256sum (FIPS 180-4's own example)
  const TenantTable table(
      {{"a", {"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}, {}, 3}});
  EXPECT_EQ(find(table, "Bearer abc", "").weight, 3);
  EXPECT_EQ(find(table, "Bearer abd", "").weight, 1);
}

}  // namespace
}  // namespace tutti::server
