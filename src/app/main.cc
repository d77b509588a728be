#include "app/cli.h"

int main(int argc, char** argv) { return tutti::app::main_with_arguments(argc, argv); }
