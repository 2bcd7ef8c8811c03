# The allocator dies, is replaced, and loses its store for a while; the plan and the seats stay.
policy design=2 cap=3 minimum=1 islands=1 islands_max=3
node 1
wait 3000
join Ann
enter Ann
join Bo
enter Bo
join Cy
wait 1000
show
allocator dies
join Di
wait 1000
show
enter Cy
wait 40000
show
allocator restarts
join Ed
wait 1000
show
store away
join Flo
wait 3000
store back
wait 2000
join Flo
show
