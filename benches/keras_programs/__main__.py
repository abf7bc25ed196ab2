from benches.keras_programs.run import main

main()
