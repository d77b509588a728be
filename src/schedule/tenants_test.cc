#include "schedule/tenants.h"

#include <gtest/gtest.h>

namespace tutti::schedule {
namespace {

TEST(Tenants, ChargesByWeight) {
  Tenants tenants;
  Tenant& light = tenants.open("light", 1);
  Tenant& heavy = tenants.open("heavy", 4);
  Tenants::charge(light, 100);
  Tenants::charge(heavy, 100);
  EXPECT_EQ(light.served, 100);
  EXPECT_EQ(heavy.served, 25);
}

TEST(Tenants, TimeAwayEarnsNoCredit) {
  Tenants tenants;
  Tenant& busy = tenants.open("busy", 1);
  Tenants::charge(busy, 1000);
  EXPECT_EQ(tenants.open("new", 1).served, 1000);
  Tenants::charge(busy, 500);
  tenants.close(tenants.open("new", 1));
  Tenant& back = tenants.open("new", 1);
  EXPECT_EQ(back.served, 1000) << "it was here all the time";
}

TEST(Tenants, DebtsAreKeptWhileOthersAreServed) {
  Tenants tenants;
  tenants.open("other", 1);
  Tenant& greedy = tenants.open("greedy", 1);
  Tenants::charge(greedy, 1000);
  tenants.close(greedy);
  EXPECT_EQ(tenants.open("greedy", 1).served, 1000);
}

TEST(Tenants, ForgetsThoseWhoAreAway) {
  Tenants tenants;
  Tenant& busy = tenants.open("busy", 1);
  for (int i = 0; i < 10000; ++i) {
    Tenants::charge(busy, 1);
    tenants.close(tenants.open(std::to_string(i), 1));
  }
  EXPECT_LT(tenants.all().size(), 200u);
  tenants.close(busy);
  EXPECT_TRUE(tenants.all().empty());
}

}  // namespace
}  // namespace tutti::schedule
