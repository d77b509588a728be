// Where the golden files are: copied into tests/goldens, and all of them in ../shared/goldens when
// that folder stands beside the checkout.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tutti::testing {

// tests/goldens of the source tree.
std::filesystem::path goldens_dir();

// Every existing folder named `relative` ("models", "text/tokenizers") under the two roots; the
// full set last. Never empty when the repository is whole.
std::vector<std::filesystem::path> golden_roots(const std::string& relative);

// The entries of those folders by name, each name once, the repository's copy winning.
std::vector<std::filesystem::path> golden_entries(const std::string& relative);

// A file or folder by its relative path, from the first root that has it; empty when none does.
std::filesystem::path golden_path(const std::string& relative);

// The demo model's folder (models/demo).
std::filesystem::path demo_model_dir();

// A new empty folder, removed at the end of the process.
std::filesystem::path make_temp_dir();

}  // namespace tutti::testing
