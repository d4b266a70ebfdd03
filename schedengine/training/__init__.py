"""Training: the plain loop that the command line runs, and what a run leaves behind.

settings     everything a user can ask of a run, checked
session      the objects of a run, made from its settings: data, model, optimizer, scheduler
trial        whether the model takes the images, tried before the run
loop         one epoch with the scheduler's callbacks in place: read this to port a loop of your own
compute      where and in which precision numbers are computed
evaluate     loss and accuracy of a model on one split
sparsity     zeros, counted in the weights as they are
checkpoint   files that a killed run goes on from
trace        the learning rates that weights say they were trained with
cuts         accuracy around each cut, and what it took in norms
best         the best weights at each sparsity that a run reaches
run          the folder of a run
train        from settings to a finished run
report       what a finished run says of itself
"""
