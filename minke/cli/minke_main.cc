// The program: flags -> settings -> one verb -> exit code.
#include "minke/cli/program.h"

int main(int argc, char** argv) { return minke::RunProgram({argv + 1, argv + argc}); }
