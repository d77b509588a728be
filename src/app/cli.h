// The command line: flags, their help, and the merging of environment and settings file.
#pragma once

namespace tutti::app {

// Parses, merges, runs the command. Returns the exit code.
int main_with_arguments(int argc, char** argv);

}  // namespace tutti::app
