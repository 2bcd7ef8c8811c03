# Nodes come, fall silent, die and are replaced; seats stay for the grace.
policy design=10 cap=12 minimum=2 islands=1 islands_max=1
join Early
node 1
wait 3000
join Early
enter Early
node 2
wait 2000
join Ann
enter Ann
join Bo
enter Bo
wait 1000
show
sleep 2
wait 4000
show
join Cy
wake 2
wait 4500
join Cy
enter Cy
wait 1000
show
kill 1
wait 4000
join Early
enter Early 1
enter Early
wait 30000
show
node 1
wait 3000
show
wait 90000
show
