#include "server/tenants.h"

#include <gtest/gtest.h>

namespace tutti::server {
namespace {

TEST(Tenants, TheKeyComesBeforeTheHeaderAndThatBeforeTheCommonOne) {
  const TenantTable table;
  EXPECT_EQ(table.find("", "").id, "");
  EXPECT_EQ(table.find("Basic abc", "").id, "");
  EXPECT_EQ(table.find("Bearer ", "").id, "");
  const Tenant by_key = table.find("Bearer sk-1", "a");
  EXPECT_EQ(by_key.id, table.find("bearer  sk-1", "").id);
  EXPECT_EQ(by_key.id, table.find("BEARER sk-1", "b").id);
  EXPECT_NE(by_key.id, table.find("Bearer sk-2", "").id);
  const Tenant by_header = table.find("", "sk-1");
  EXPECT_NE(by_header.id, by_key.id) << "a header cannot take a key's place";
  EXPECT_EQ(by_header.weight, 1);
}

TEST(Tenants, KeysAreNeverShown) {
  const Tenant tenant = TenantTable().find("Bearer sk-very-secret", "");
  EXPECT_EQ(tenant.id.find("sk-very-secret"), std::string::npos);
  EXPECT_EQ(tenant.label.find("secret"), std::string::npos);
  EXPECT_EQ(tenant.label.size(), 16u) << tenant.label;
}

TEST(Tenants, TheSettingsGiveNamesAndWeights) {
  const TenantTable table({{"research", {"sk-plain"}, {"lab"}, 2.5}, {"web", {}, {"www"}, 0.5}});
  const Tenant plain = table.find("Bearer sk-plain", "");
  EXPECT_EQ(plain.label, "research");
  EXPECT_EQ(plain.weight, 2.5);
  EXPECT_EQ(plain.id, table.find("", "lab").id);
  EXPECT_EQ(table.find("", "www").weight, 0.5);
  EXPECT_NE(table.find("", "research").id, plain.id) << "its name is not one of its ids";
}

TEST(Tenants, AKeyMayBeGivenByItsHash) {
  // printf abc | sha256sum (FIPS 180-4's own example)
  const TenantTable table(
      {{"a", {"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}, {}, 3}});
  EXPECT_EQ(table.find("Bearer abc", "").weight, 3);
  EXPECT_EQ(table.find("Bearer abd", "").weight, 1);
}

}  // namespace
}  // namespace tutti::server
