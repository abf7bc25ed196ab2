"LSTM layers on a GPU: one part, forward and back, by steps or persistent; stacks of parts."
