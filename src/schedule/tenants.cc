#include "schedule/tenants.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace tutti::schedule {

Tenant& Tenants::open(const std::string& name, double weight) {
  TUTTI_CHECK(weight > 0) << "tenant " << name << " has the weight " << weight;
  const auto [found, is_new] = tenants_.try_emplace(name, Tenant{.name = name});
  Tenant& tenant = found->second;
  tenant.weight = weight;
  if (tenant.num_open == 0) {
    if (num_active_ > 0) tenant.served = std::max(tenant.served, least_served());
    ++num_active_;
  }
  ++tenant.num_open;
  return tenant;
}

void Tenants::close(Tenant& tenant) {
  TUTTI_CHECK(tenant.num_open > 0) << "tenant " << tenant.name << " has no open sequence";
  if (--tenant.num_open == 0) --num_active_;
  constexpr std::size_t kMaxIdle = 64;
  if (num_active_ == 0) {
    tenants_.clear();
  } else if (tenants_.size() > 2 * static_cast<std::size_t>(num_active_) + kMaxIdle) {
    forget_idle();
  }
}

double Tenants::least_served() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.num_open > 0) least = std::min(least, tenant.served);
  }
  return least;
}

// One that was served no more than the others would begin where they are in any case.
void Tenants::forget_idle() {
  const double least = least_served();
  std::erase_if(tenants_, [least](const auto& entry) {
    return entry.second.num_open == 0 && entry.second.served <= least;
  });
}

}  // namespace tutti::schedule
